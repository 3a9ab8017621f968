-- The freeze is over: its object is gone.
DELETE FROM flag_schedule_freezes WHERE uid = %(uid)s
