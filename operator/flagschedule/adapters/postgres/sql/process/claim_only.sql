-- Of the rows named in ids, those that are still due and not locked. Used to find the refused rows of a batch, to try
-- one row alone and, without an id, to find out whether the statement works at all.
SELECT s.id, s.flag_id, s.updates, s.scheduled_at, s.not_after, s.arming, s.retry_count, s.status,
       f.flag_key, f.environment, f.enabled, f.rollout_percentage, f.updated_at, s.xmin AS version, s.next_retry_at,
       s.expect, s.on_mismatch, s.follows
FROM feature_flag_schedules AS s
JOIN feature_flags AS f ON f.id = s.flag_id
WHERE s.id = ANY (%(ids)s) AND NOT s.suspended
  AND (/* is_due */ false)
  AND CASE WHEN s.requires <= 1 AND NOT (/* held */ false) THEN true END IS NOT NULL
FOR NO KEY UPDATE OF f SKIP LOCKED
FOR UPDATE OF s SKIP LOCKED
