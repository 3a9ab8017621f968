-- What the operator's metrics say of the database: each count ends at 100,000 and reads a small table or, because
-- of its order, a partial index. Runs are counted a moment after they finished, so that none commits behind the mark.
SELECT
    (SELECT count(*) FROM (
        SELECT FROM feature_flag_schedules AS s
        WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
        ORDER BY s.scheduled_at, s.id LIMIT 100000
    ) AS found) AS due,
    coalesce((
        SELECT extract(epoch FROM now() - greatest(s.scheduled_at, '0001-01-01Z'))::float FROM feature_flag_schedules AS s
        WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
        ORDER BY s.scheduled_at, s.id LIMIT 1
    ), 0) AS oldest_due,
    (SELECT count(*) FROM (
        SELECT FROM feature_flag_schedules AS s
        WHERE s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended
        ORDER BY s.next_retry_at, s.id LIMIT 100000
    ) AS found) AS retrying,
    freezes.active AS active_freezes, freezes.orphaned AS orphan_freezes,
    (SELECT count(*) FROM (SELECT FROM flag_schedule_status_outbox LIMIT 100000) AS found) AS status_entries,
    (SELECT count(*) FROM (SELECT FROM flag_schedule_cache_outbox LIMIT 100000) AS found) AS cache_entries,
    (SELECT count(*) FROM (SELECT FROM flag_schedule_notices WHERE ended_at IS NULL LIMIT 100000) AS found) AS notices,
    (SELECT extract(epoch FROM now() - max(r.finished_at))::float FROM flag_schedule_runs AS r
     WHERE r.finished_at BETWEEN '0001-01-01Z' AND now()) AS run_age,
    (SELECT extract(epoch FROM r.finished_at - r.started_at)::float FROM flag_schedule_runs AS r
     WHERE r.finished_at BETWEEN '0001-01-01Z' AND now() AND r.started_at >= '0001-01-01Z' ORDER BY r.finished_at DESC LIMIT 1) AS run_duration,
    (SELECT json_object_agg(a.kind, a.number) FROM (
        SELECT e.key AS kind, sum(e.value::bigint) AS number
        FROM flag_schedule_runs AS r, jsonb_each_text(r.attempts) AS e
        WHERE r.finished_at > %(mark)s AND r.finished_at <= now() - interval '2 seconds'
        GROUP BY e.key
    ) AS a) AS attempts,
    since.mark,
    since.processed, since.failed, since.retried, since.superseded, since.set_aside,
    since.skipped, since.refused_cache_keys
FROM (
    SELECT now() - interval '2 seconds' AS mark, coalesce(sum(r.processed), 0) AS processed,
           coalesce(sum(r.failed), 0) AS failed, coalesce(sum(r.retried), 0) AS retried,
           coalesce(sum(r.superseded), 0) AS superseded, coalesce(sum(r.set_aside), 0) AS set_aside,
           coalesce(sum(r.skipped), 0) AS skipped, coalesce(sum(r.refused_cache_keys), 0) AS refused_cache_keys
    FROM flag_schedule_runs AS r
    WHERE r.finished_at > %(mark)s AND r.finished_at <= now() - interval '2 seconds'
) AS since
CROSS JOIN (
    SELECT count(*) AS active,
           count(*) FILTER (WHERE NOT EXISTS (
               SELECT FROM flag_schedule_clusters AS c
               WHERE c.name = z.cluster AND c.heartbeat_at > now() - interval '10 minutes'
           )) AS orphaned
    FROM flag_schedule_freezes AS z
    WHERE z.starts_at <= now() AND (z.ends_at IS NULL OR z.ends_at > now())
) AS freezes
