-- A notice for each change of this cluster's that is due and held by a freeze, once for each time at which it was due.
INSERT INTO flag_schedule_notices (cluster, namespace, event, subject, happened_at, data, once)
SELECT %(cluster)s, s.namespace, 'frozen', concat(f.environment, '/', f.flag_key), h.since,
       jsonb_strip_nulls(jsonb_build_object(
           'kind', f.kind,
           'namespace', s.namespace,
           'name', f.name,
           'scheduleId', s.id,
           'flagKey', f.flag_key,
           'environment', f.environment,
           'scheduledAt', to_char(s.scheduled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           'updates', s.updates,
           'reason', 'Frozen',
           'freeze', jsonb_build_object(
               'name', h.name,
               'reason', h.reason,
               'until', to_char(h.ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
           ),
           'actor', f.changed_by,
           'origin', f.origin,
           'step', f.step,
           'occurrence', f.occurrence,
           'part', f.part
       )),
       h.once
FROM (
    /* due */ SELECT
) AS s
CROSS JOIN LATERAL (
    SELECT 'FlagSchedule' AS kind, o.name, o.flag_key, o.environment, o.changed_by, o.origin, NULL AS step,
           NULL AS occurrence, NULL AS part
    FROM flag_schedule_objects AS o
    WHERE o.schedule_id = s.id AND o.deleted_at IS NULL
    UNION ALL
    SELECT 'FlagPlan', p.name, r.flag_key, r.environment, p.changed_by, p.origin, r.step, r.occurrence, r.part
    FROM flag_plan_rows AS r
    JOIN flag_plans AS p ON p.uid = r.plan
    WHERE r.schedule_id = s.id AND p.deleted_at IS NULL
    LIMIT 1
) AS f
CROSS JOIN LATERAL (
    SELECT z.name, z.reason, z.ends_at, greatest(d.due_at, z.starts_at) AS since,
           format('frozen %%s %%s', s.id, extract(epoch FROM d.due_at)) AS once
    FROM flag_schedule_freezes AS z, (SELECT greatest(s.scheduled_at, s.next_retry_at) AS due_at) AS d
    WHERE /* holds */ false
    ORDER BY z.ends_at DESC NULLS FIRST, z.name
    LIMIT 1
) AS h
WHERE s.cluster = %(cluster)s
  AND (%(namespaces)s::text[] = '{}' OR s.namespace = ANY (%(namespaces)s))
  AND NOT EXISTS (SELECT FROM flag_schedule_notices AS n WHERE n.once = h.once)
LIMIT 5000
ON CONFLICT (once) DO NOTHING
