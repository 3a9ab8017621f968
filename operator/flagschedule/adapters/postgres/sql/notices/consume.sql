-- Delete status entries that were served, and keep a notice of each outcome that the webhook wants. An entry has the
-- attempt that was inserted by the same transaction; one that only set a row aside has none, and gets no notice.
WITH gone AS (
    DELETE FROM flag_schedule_status_outbox AS e
    WHERE e.id = ANY (%(ids)s)
    RETURNING e.schedule_id, e.xmin AS made_by, e.created_at
),
outcomes AS (
    SELECT CASE
               WHEN a.reason = 'Superseded' THEN 'superseded'
               WHEN a.reason = 'AlreadySet' THEN 'alreadyset'
               WHEN a.outcome = 'applied' THEN 'applied'
               WHEN a.reason IN ('Skipped', 'NotStarted') THEN 'skipped'
               WHEN a.reason = 'DeadlineExceeded' THEN 'expired'
               WHEN a.reason = 'AttemptFailed' THEN 'retrying'
               WHEN a.outcome = 'failed' THEN 'failed'
               -- The flag was deleted, and the row with it.
               WHEN s.id IS NULL AND coalesce(o.reason, r.reason) = 'FlagDeleted' THEN 'failed'
           END AS event,
           g.created_at, g.schedule_id, a.arming, a.attempt, a.attempted_at, coalesce(a.reason, o.reason, r.reason) AS reason,
           CASE WHEN (s.arming, s.retry_count) = (a.arming, a.attempt - 1)
                     OR a.reason = 'AttemptFailed' AND (s.arming, s.retry_count) = (a.arming, a.attempt)
                THEN left(s.last_error, 256) END AS error,
           a.before_enabled, a.before_rollout_percentage, a.after_enabled, a.after_rollout_percentage,
           coalesce(s.scheduled_at, o.scheduled_at, r.due_at) AS scheduled_at, coalesce(s.updates, r.updates) AS updates,
           coalesce(o.flag_key, r.flag_key) AS flag_key, coalesce(o.environment, r.environment) AS environment,
           coalesce(o.namespace, p.namespace) AS namespace, coalesce(o.name, p.name) AS name,
           CASE WHEN p.uid IS NULL THEN 'FlagSchedule' ELSE 'FlagPlan' END AS kind,
           coalesce(o.changed_by, p.changed_by) AS changed_by, coalesce(o.origin, p.origin) AS origin, r.step,
           r.occurrence, r.part
    FROM gone AS g
    LEFT JOIN flag_schedule_attempts AS a
        ON a.schedule_id = g.schedule_id AND a.xmin = g.made_by AND a.attempted_at >= g.created_at
    LEFT JOIN feature_flag_schedules AS s ON s.id = g.schedule_id
    LEFT JOIN flag_schedule_objects AS o ON o.schedule_id = g.schedule_id AND o.cluster = %(cluster)s
    LEFT JOIN flag_plan_rows AS r ON r.schedule_id = g.schedule_id AND o.uid IS NULL
    LEFT JOIN flag_plans AS p ON p.uid = r.plan AND p.cluster = %(cluster)s
    WHERE o.uid IS NOT NULL OR p.uid IS NOT NULL
)
INSERT INTO flag_schedule_notices (cluster, namespace, event, subject, happened_at, data)
SELECT %(cluster)s, n.namespace, n.event, concat(n.environment, '/', n.flag_key), coalesce(n.attempted_at, n.created_at),
       jsonb_strip_nulls(jsonb_build_object(
           'kind', n.kind,
           'namespace', n.namespace,
           'name', n.name,
           'scheduleId', n.schedule_id,
           'flagKey', n.flag_key,
           'environment', n.environment,
           'scheduledAt', to_char(n.scheduled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           'updates', n.updates,
           'reason', n.reason,
           'error', n.error,
           'attempt', n.attempt,
           'latenessSeconds', round(extract(epoch FROM n.attempted_at - n.scheduled_at)::numeric, 3),
           'before', CASE WHEN n.attempt IS NOT NULL THEN jsonb_build_object(
               'enabled', n.before_enabled, 'rolloutPercentage', n.before_rollout_percentage) END,
           'after', CASE WHEN n.attempt IS NOT NULL THEN jsonb_build_object(
               'enabled', n.after_enabled, 'rolloutPercentage', n.after_rollout_percentage) END,
           'actor', n.changed_by,
           'origin', n.origin,
           'step', n.step,
           'occurrence', n.occurrence,
           'part', n.part
       ))
FROM outcomes AS n
WHERE n.event = ANY (%(events)s)
