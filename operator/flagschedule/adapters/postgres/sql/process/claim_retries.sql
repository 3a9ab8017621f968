-- Retries that are due, without schedules that are set aside and those of the flags in left_out.
-- Locks, beginning (in the full text only) and the two texts: as in claim_due.sql.
SELECT s.id, s.flag_id, s.updates, s.scheduled_at, s.not_after, s.arming, s.retry_count, s.status,
       f.flag_key, f.environment, f.enabled, f.rollout_percentage, f.updated_at, s.xmin AS version
       -- full: , s.next_retry_at, s.expect, s.on_mismatch, s.follows
FROM feature_flag_schedules AS s
JOIN feature_flags AS f ON f.id = s.flag_id
WHERE s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended AND s.next_retry_at <= now()
  AND (/* is_not_aside */ false) AND s.flag_id <> ALL (%(left_out)s)
  -- full: AND (s.next_retry_at, s.scheduled_at, s.id) >= (%(since_retry)s, %(since)s, %(since_id)s)
  AND CASE WHEN s.requires <= 0 THEN true END IS NOT NULL AND NOT (SELECT g.closed FROM gate AS g)  -- plain
  -- full: AND CASE WHEN s.requires <= 1 AND NOT (/* held */ false) THEN true END IS NOT NULL
ORDER BY s.next_retry_at, s.scheduled_at, s.id
LIMIT /* limit */ 100
FOR NO KEY UPDATE OF f SKIP LOCKED
FOR UPDATE OF s SKIP LOCKED
