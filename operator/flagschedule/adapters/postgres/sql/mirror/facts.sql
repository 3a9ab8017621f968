-- What the decision on an object without a row needs in addition to its record: whether an earlier object of this name has
-- made the change of this flag and time (by its row, or by its record once the row is deleted), and whether there was any
-- other of this name. The updates do not count: a tool that deletes and re-creates an edited file must not have it
-- applied again. Reads nothing of the host's, which may be locked.
SELECT now() AS now,
       EXISTS (SELECT FROM flag_schedule_objects AS o
               WHERE o.cluster = %(cluster)s AND o.namespace = %(namespace)s AND o.name = %(name)s
                 AND o.uid <> %(uid)s) AS has_namesakes,
       replay.change_hash IS NOT NULL AS is_replay, replay.change_hash AS replayed_hash, replay.applied_at AS replayed_at
FROM (SELECT) AS always
LEFT JOIN LATERAL (
    SELECT coalesce(s.applied_at, o.applied_at) AS applied_at, coalesce(o.change_hash, '') AS change_hash
    FROM flag_schedule_objects AS o
    LEFT JOIN feature_flag_schedules AS s ON s.id = o.schedule_id
    WHERE o.cluster = %(cluster)s AND o.namespace = %(namespace)s AND o.name = %(name)s AND o.uid <> %(uid)s
      AND o.flag_key = %(flag_key)s AND o.environment = %(environment)s AND o.scheduled_at = %(planned_at)s
      AND coalesce(s.status, o.state) = 'applied'
    ORDER BY coalesce(s.applied_at, o.applied_at) DESC NULLS LAST
    LIMIT 1
) AS replay ON true
