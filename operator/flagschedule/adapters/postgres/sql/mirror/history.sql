-- The last attempts of the object's schedule, newest first, and the flag before and after the last one that was applied.
WITH attempts AS MATERIALIZED (
    SELECT a.*
    FROM flag_schedule_attempts AS a
    WHERE a.schedule_id = (SELECT o.schedule_id FROM flag_schedule_objects AS o WHERE o.uid = %(uid)s)
    ORDER BY a.arming DESC, a.attempt DESC
    LIMIT 10
)
SELECT a.arming, a.attempt, a.attempted_at, a.outcome, a.reason, left(a.error, 256) AS error,
       a.before_enabled, a.before_rollout_percentage, a.after_enabled, a.after_rollout_percentage
FROM attempts AS a
ORDER BY a.arming DESC, a.attempt DESC
