-- Two live objects cannot share a name: older ones are gone, with a cluster that was lost or behind our back.
-- What they had planned and not yet done is given up, or the dead would fire.
WITH older AS (
    UPDATE flag_schedule_objects AS o
    SET deleted_at = coalesce(o.deleted_at, now())
    WHERE o.cluster = %(cluster)s AND o.namespace = %(namespace)s AND o.name = %(name)s
      AND o.uid <> %(uid)s AND o.created_at <= %(created_at)s
    RETURNING o.schedule_id
)
UPDATE feature_flag_schedules AS s
SET status = 'cancelled', reason = 'Replaced', next_retry_at = NULL, updated_at = now()
WHERE s.id = ANY (ARRAY(SELECT older.schedule_id FROM older WHERE older.schedule_id IS NOT NULL))
  AND (s.status = 'pending' OR s.status = 'failed' AND s.next_retry_at IS NOT NULL)
