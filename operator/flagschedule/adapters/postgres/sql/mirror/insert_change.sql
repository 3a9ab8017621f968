-- A version of the object that is acted on now.
INSERT INTO flag_schedule_changes (uid, generation, actor, origin, spec)
VALUES (%(uid)s, %(generation)s, %(actor)s, %(origin)s, %(spec)s)
