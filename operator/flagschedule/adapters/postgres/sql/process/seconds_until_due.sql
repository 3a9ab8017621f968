-- Seconds until the next schedule or retry comes due, if that is within a second, else null. Rows that are due
-- already do not count. In the full text (see apply.sql) rows that a freeze holds do not count, and the end of a
-- freeze does. The bound of a second also leaves out the time 'infinity', which older Postgres cannot subtract.
SELECT extract(epoch FROM least(
    (
        SELECT s.scheduled_at FROM feature_flag_schedules AS s
        -- full: JOIN feature_flags AS f ON f.id = s.flag_id
        WHERE s.status = 'pending' AND NOT s.suspended
          AND s.scheduled_at > now() AND s.scheduled_at < now() + interval '1 second'
          -- full: AND NOT (/* held */ false)
        ORDER BY s.scheduled_at, s.id
        LIMIT 1
    ),
    (
        SELECT s.next_retry_at FROM feature_flag_schedules AS s
        -- full: JOIN feature_flags AS f ON f.id = s.flag_id
        WHERE s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended
          AND s.next_retry_at > now() AND s.next_retry_at < now() + interval '1 second'
          -- full: AND NOT (/* held */ false)
        ORDER BY s.next_retry_at, s.scheduled_at, s.id
        LIMIT 1
    )
    -- full: , (
    -- full:     SELECT min(z.ends_at) FROM flag_schedule_freezes AS z
    -- full:     WHERE z.ends_at > now() AND z.ends_at < now() + interval '1 second'
    -- full: )
) - now())::float8
