-- Whether a schedule that was set aside is to be tried again; no row if none is set aside.
SELECT s.set_aside_until <= now()
FROM feature_flag_schedules AS s
WHERE s.set_aside_count > 0 AND NOT s.suspended AND s.status IN ('pending', 'failed') AND s.set_aside_until IS NOT NULL
ORDER BY s.set_aside_until
LIMIT 1
