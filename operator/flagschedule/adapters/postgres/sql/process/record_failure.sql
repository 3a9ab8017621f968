-- Records a failed attempt of one due row: it is tried again later, or has failed if no retry is left.
-- A row that was changed since it was read is left as it is: what was refused is not what it has now.
--
-- After n retries the pause is initial * 2^n, at most longest; without a policy of the row these are 2 minutes and 1
-- hour (as in domain/schedule.py). Up to a quarter of the pause, at most 30 s, is added as jitter; with it no wait is
-- longer than longest.
WITH claimed AS MATERIALIZED (
    SELECT s.id, s.arming, s.retry_count, s.set_aside_count, s.retry_count < s.max_retries AS again,
           s.status = 'failed' AS retried,
           CASE WHEN s.retry_count < s.max_retries THEN now() + make_interval(
               secs => least(p.pause, p.longest - p.jitter) + random() * p.jitter
           ) END AS next_retry_at,
           f.flag_key, f.environment, f.enabled, f.rollout_percentage, f.updated_at
    FROM feature_flag_schedules AS s
    JOIN feature_flags AS f ON f.id = s.flag_id
    -- Bounded, because another program may have written any number.
    CROSS JOIN LATERAL (
        SELECT least(greatest(coalesce(s.retry_initial_seconds, 120), 1), 3600)::float8 AS initial,
               least(greatest(coalesce(s.retry_max_seconds, 3600), 1), 86400)::float8 AS longest
    ) AS r
    CROSS JOIN LATERAL (
        SELECT r.longest, d.pause, least(30, d.pause / 4) AS jitter
        FROM (SELECT least(r.initial * 2 ^ least(greatest(s.retry_count, 0), 20), r.longest) AS pause) AS d
    ) AS p
    WHERE s.id = %(schedule_id)s AND s.xmin = %(version)s::xid AND NOT s.suspended
      AND (/* is_due */ false)
      AND NOT (/* held */ false)
    FOR NO KEY UPDATE OF f SKIP LOCKED
    FOR UPDATE OF s SKIP LOCKED
),
schedules AS (
    UPDATE feature_flag_schedules AS s
    SET status = 'failed',
        reason = CASE WHEN c.again THEN 'AttemptFailed' ELSE 'RetriesExhausted' END,
        retry_count = CASE WHEN c.again THEN c.retry_count + 1 ELSE c.retry_count END,
        next_retry_at = c.next_retry_at,
        -- A row that was set aside so often that it counts as failed is tried alone at its retries, too.
        set_aside_until = CASE WHEN c.set_aside_count > 0 THEN c.next_retry_at END,
        set_aside_count = CASE WHEN c.again THEN greatest(c.set_aside_count, 0) ELSE 0 END,
        last_error = %(error)s,
        error_message = %(error)s,
        updated_at = now()
    FROM claimed AS c
    WHERE s.id = c.id
    RETURNING s.id, s.reason, s.retry_count
),
attempts AS (
    INSERT INTO flag_schedule_attempts
        (schedule_id, arming, attempt, run_id, claimed_at, attempted_at, before_updated_at, before_rollout_percentage,
         after_rollout_percentage, before_enabled, after_enabled, set_enabled, set_rollout_percentage,
         outcome, reason, error)
    SELECT c.id, c.arming, least(c.retry_count, 2147483646) + 1, %(run_id)s, now(), clock_timestamp(), c.updated_at,
           c.rollout_percentage,
           c.rollout_percentage, c.enabled, c.enabled, false, false, 'failed', s.reason,
           %(attempt_error)s
    FROM claimed AS c
    JOIN schedules AS s USING (id)
    ON CONFLICT DO NOTHING
),
statuses AS (
    INSERT INTO flag_schedule_status_outbox (schedule_id)
    SELECT c.id FROM claimed AS c
)
SELECT c.id::text, c.flag_key, c.environment, s.reason, s.retry_count,
       to_json(c.next_retry_at) #>> '{}' AS next_retry_at, c.retried
FROM claimed AS c
JOIN schedules AS s USING (id)
