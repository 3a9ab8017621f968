-- Rows of this cluster's objects that an older operator wrote, without the two columns that freezes look at.
UPDATE feature_flag_schedules AS s
SET cluster = o.cluster, namespace = o.namespace
FROM flag_schedule_objects AS o
WHERE o.schedule_id = s.id AND o.cluster = %(cluster)s AND s.cluster IS NULL
  AND (s.status = 'pending' OR s.next_retry_at IS NOT NULL)
