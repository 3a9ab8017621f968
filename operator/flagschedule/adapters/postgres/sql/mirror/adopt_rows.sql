-- Rows that an older operator wrote, without the two columns that freezes look at. One that is locked is being applied.
UPDATE feature_flag_schedules AS s
SET cluster = a.cluster, namespace = a.namespace
FROM (
    SELECT s.id, o.cluster, o.namespace
    FROM feature_flag_schedules AS s
    JOIN flag_schedule_objects AS o ON o.schedule_id = s.id
    WHERE s.id = ANY (%(ids)s)
    FOR UPDATE OF s SKIP LOCKED
) AS a
WHERE s.id = a.id
