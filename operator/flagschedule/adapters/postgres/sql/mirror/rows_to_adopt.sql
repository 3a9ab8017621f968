-- Rows of this cluster's objects that an older operator wrote, without the two columns that freezes look at.
SELECT s.id
FROM feature_flag_schedules AS s
JOIN flag_schedule_objects AS o ON o.schedule_id = s.id
WHERE o.cluster = %(cluster)s AND s.cluster IS NULL AND (s.status = 'pending' OR s.next_retry_at IS NOT NULL)
