-- A notice for each change of one object that is too late, and so will not be made.
INSERT INTO flag_schedule_notices (cluster, namespace, event, subject, happened_at, data)
SELECT %(cluster)s, %(namespace)s, 'expired', concat(x.environment, '/', x.flag_key), now(),
       jsonb_strip_nulls(jsonb_build_object(
           'kind', %(kind)s::text,
           'namespace', %(namespace)s::text,
           'name', %(name)s::text,
           'scheduleId', x.schedule_id,
           'flagKey', x.flag_key,
           'environment', x.environment,
           'scheduledAt', to_char(x.due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           'updates', x.updates,
           'reason', 'Expired',
           'actor', x.actor,
           'origin', x.origin,
           'step', x.step,
           'occurrence', x.occurrence,
           'part', x.part
       ))
FROM jsonb_to_recordset(%(rows)s) AS x (
    schedule_id uuid, flag_key text, environment text, due_at timestamptz, updates jsonb, actor text, origin text,
    step text, occurrence text, part text
)
