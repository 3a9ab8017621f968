-- The rows that claim_due.sql would take now, without locking them.
SELECT s.id
FROM feature_flag_schedules AS s
WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now() AND s.id <> ALL (%(set_aside)s)
ORDER BY s.scheduled_at, s.id
LIMIT /* limit */ 100
