-- Whether a freeze holds the row s of the flag f now.
EXISTS (SELECT FROM flag_schedule_freezes AS z WHERE /* holds */ false)
