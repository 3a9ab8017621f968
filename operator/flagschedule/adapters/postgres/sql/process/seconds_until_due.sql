-- Seconds until the next schedule or retry comes due, if that is within a second; null if none does. What is due already
-- does not count. The bound keeps times without end away from a subtraction that older Postgres refuses.
SELECT extract(epoch FROM least(
    (
        SELECT s.scheduled_at FROM feature_flag_schedules AS s
        WHERE s.status = 'pending' AND NOT s.suspended
          AND s.scheduled_at > now() AND s.scheduled_at < now() + interval '1 second'
        ORDER BY s.scheduled_at, s.id
        LIMIT 1
    ),
    (
        SELECT s.next_retry_at FROM feature_flag_schedules AS s
        WHERE s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended
          AND s.next_retry_at > now() AND s.next_retry_at < now() + interval '1 second'
        ORDER BY s.next_retry_at, s.scheduled_at, s.id
        LIMIT 1
    )
) - now())::float8
