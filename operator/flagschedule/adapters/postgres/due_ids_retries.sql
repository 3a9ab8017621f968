-- The rows that claim_retries.sql would take now, without locking them.
SELECT s.id
FROM feature_flag_schedules AS s
WHERE s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended AND s.next_retry_at <= now()
  AND s.id <> ALL (%(set_aside)s)
ORDER BY s.next_retry_at, s.scheduled_at, s.id
LIMIT /* limit */ 100
