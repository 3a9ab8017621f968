-- One more migration was applied.
INSERT INTO flag_schedule_migrations VALUES (%(hash)s, %(name)s, now() AT TIME ZONE 'UTC')
