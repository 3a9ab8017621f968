-- What older objects of this name had planned and not yet done is given up; the caller holds the rows' locks.
UPDATE feature_flag_schedules AS s
SET status = 'cancelled', reason = 'Replaced', next_retry_at = NULL, updated_at = now()
WHERE s.id = ANY (ARRAY(
    SELECT o.schedule_id
    FROM flag_schedule_objects AS o
    WHERE o.cluster = %(cluster)s AND o.namespace = %(namespace)s AND o.name = %(name)s
      AND o.uid <> %(uid)s AND o.created_at <= %(created_at)s AND o.deleted_at IS NULL AND o.schedule_id IS NOT NULL
))
  AND (s.status = 'pending' OR s.status = 'failed' AND s.next_retry_at IS NOT NULL)
