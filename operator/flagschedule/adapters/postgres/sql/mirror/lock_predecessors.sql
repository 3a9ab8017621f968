-- Unfinished rows of older objects of this name. Not waited for: who holds them may wait for us (a cascade).
SELECT s.id
FROM feature_flag_schedules AS s
WHERE s.id = ANY (ARRAY(
    SELECT o.schedule_id
    FROM flag_schedule_objects AS o
    WHERE o.cluster = %(cluster)s AND o.namespace = %(namespace)s AND o.name = %(name)s
      AND o.uid <> %(uid)s AND o.created_at <= %(created_at)s AND o.deleted_at IS NULL AND o.schedule_id IS NOT NULL
))
ORDER BY s.id
FOR UPDATE OF s NOWAIT
