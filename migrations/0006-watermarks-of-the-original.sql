-- Expands: what the original has applied already counts for the order, too. Without it the retry of an older
-- schedule would find no watermark and overwrite what a newer one set before we came.
SET LOCAL lock_timeout = '10s';

INSERT INTO flag_schedule_watermarks
    (flag_id, enabled_at, enabled_by, rollout_percentage_at, rollout_percentage_by)
SELECT flag_id, e.scheduled_at, e.id, r.scheduled_at, r.id
FROM (
    SELECT DISTINCT ON (flag_id) flag_id, scheduled_at, id
    FROM feature_flag_schedules
    WHERE status = 'applied' AND jsonb_typeof(updates -> 'enabled') = 'boolean'
    ORDER BY flag_id, scheduled_at DESC, id DESC
) AS e
FULL JOIN (
    SELECT DISTINCT ON (flag_id) flag_id, scheduled_at, id
    FROM feature_flag_schedules
    WHERE status = 'applied' AND jsonb_typeof(updates -> 'rolloutPercentage') = 'number'
    ORDER BY flag_id, scheduled_at DESC, id DESC
) AS r USING (flag_id)
ON CONFLICT DO NOTHING;
