-- Of these objects those whose schedules are not finished.
SELECT o.uid
FROM flag_schedule_objects AS o
JOIN feature_flag_schedules AS s ON s.id = o.schedule_id
WHERE o.uid = ANY (%(uids)s) AND (s.status = 'pending' OR s.status = 'failed' AND s.next_retry_at IS NOT NULL)
