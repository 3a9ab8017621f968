-- From the first freeze on no processor runs that does not know freezes.
UPDATE flag_schedule_protocol SET minimum = 1, raised_at = now() WHERE minimum < 1
