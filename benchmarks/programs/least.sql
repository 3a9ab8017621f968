-- The least that finds what is due, changes flags and schedules, and keeps watermarks, attempts and statuses. It judges
-- and compares nothing: each given change is taken for valid and for the latest one.
WITH claimed AS MATERIALIZED (
    SELECT s.id, s.flag_id, s.scheduled_at, s.arming, s.retry_count, f.updated_at, f.enabled, f.rollout_percentage,
           (s.updates ->> 'enabled')::boolean AS new_enabled,
           (s.updates ->> 'rolloutPercentage')::integer AS new_percentage
    FROM feature_flag_schedules AS s
    JOIN feature_flags AS f ON f.id = s.flag_id
    WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
      AND (s.scheduled_at, s.id) >= (%(since)s, '00000000-0000-0000-0000-000000000000')
    ORDER BY s.scheduled_at, s.id
    LIMIT 100
    FOR NO KEY UPDATE OF f SKIP LOCKED
    FOR UPDATE OF s SKIP LOCKED
),
watermarks AS (
    INSERT INTO flag_schedule_watermarks
        (flag_id, enabled_at, enabled_by, rollout_percentage_at, rollout_percentage_by)
    SELECT DISTINCT ON (flag_id) flag_id, scheduled_at, id, scheduled_at, id
    FROM claimed
    ORDER BY flag_id, scheduled_at DESC, id DESC
    ON CONFLICT (flag_id) DO UPDATE
    SET enabled_at = excluded.enabled_at, enabled_by = excluded.enabled_by,
        rollout_percentage_at = excluded.rollout_percentage_at,
        rollout_percentage_by = excluded.rollout_percentage_by
),
flags AS (
    UPDATE feature_flags AS f
    SET enabled = x.enabled, rollout_percentage = x.percentage, updated_at = now()
    FROM unnest(
        (SELECT array_agg(flag_id) FROM claimed),
        (SELECT array_agg(new_enabled) FROM claimed),
        (SELECT array_agg(new_percentage) FROM claimed)
    ) AS x (id, enabled, percentage)
    WHERE f.id = x.id
),
schedules AS (
    UPDATE feature_flag_schedules AS s
    SET status = 'applied', reason = 'Applied', applied_at = now(), updated_at = now()
    FROM unnest((SELECT array_agg(id) FROM claimed)) AS x (id)
    WHERE s.id = x.id
),
attempts AS (
    INSERT INTO flag_schedule_attempts
        (schedule_id, arming, attempt, run_id, before_updated_at, before_rollout_percentage,
         after_rollout_percentage, before_enabled, after_enabled, set_enabled, set_rollout_percentage,
         outcome, reason)
    SELECT id, arming, retry_count + 1, 0, updated_at, rollout_percentage, new_percentage, enabled, new_enabled,
           true, true, 'applied', 'Applied'
    FROM claimed
),
statuses AS (
    INSERT INTO flag_schedule_status_outbox (schedule_id) SELECT id FROM claimed
)
SELECT coalesce(json_agg(id), '[]'::json), max(scheduled_at) FROM claimed
