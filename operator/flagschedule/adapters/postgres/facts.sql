-- What a decision needs beside record and row: the flag, whether an earlier object of this name has made the very
-- same change (its row tells, or its record once the row is gone), and whether there was any other of this name.
SELECT now() AS now,
       (SELECT f.id FROM feature_flags AS f
        WHERE f.flag_key = %(flag_key)s AND f.environment = %(environment)s) AS flag_id,
       (SELECT max(coalesce(s.applied_at, o.applied_at))
        FROM flag_schedule_objects AS o
        LEFT JOIN feature_flag_schedules AS s ON s.id = o.schedule_id
        WHERE o.cluster = %(cluster)s AND o.namespace = %(namespace)s AND o.name = %(name)s
          AND o.uid <> %(uid)s AND o.change_hash = %(change_hash)s
          AND coalesce(s.status, o.state) = 'applied') AS replayed_at,
       EXISTS (SELECT FROM flag_schedule_objects AS o
               WHERE o.cluster = %(cluster)s AND o.namespace = %(namespace)s AND o.name = %(name)s
                 AND o.uid <> %(uid)s) AS has_namesakes
