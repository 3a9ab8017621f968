-- What the database has of each freeze of this cluster: all its ids, the interval that is active, and the next one. One row at least,
-- with the time of this look, which freezes are active at all, and whether the database obeys: no processor may be at work
-- that does not know freezes. One that began before the minimum was raised ends within five minutes; one that began after
-- it does not read the minimum at all.
SELECT l.now, l.active_ids, l.obeyed,
       z.uid, z.name, z.ids, z.active, z.until, z.next_from, z.next_until
FROM (
    SELECT now() AS now,
           ARRAY(SELECT a.id FROM flag_schedule_freezes AS a
                 WHERE a.starts_at <= now() AND (a.ends_at IS NULL OR a.ends_at > now()) ORDER BY a.id) AS active_ids,
           NOT EXISTS (SELECT FROM flag_schedule_protocol AS p
                       WHERE p.minimum < 1 OR p.raised_at > now() - interval '5 seconds')
           AND NOT EXISTS (
               SELECT FROM (SELECT * FROM flag_schedule_runs ORDER BY id DESC LIMIT 1000) AS r,
                           flag_schedule_protocol AS p
               WHERE r.protocol < 1 AND r.started_at > now() - interval '5 minutes'
                 AND (r.finished_at IS NULL OR r.started_at > p.raised_at)
           ) AS obeyed
) AS l
LEFT JOIN (
    SELECT uid, max(name) AS name, array_agg(id ORDER BY id) AS ids,
           bool_or(starts_at <= now() AND (ends_at IS NULL OR ends_at > now())) AS active,
           CASE WHEN bool_or(starts_at <= now() AND ends_at IS NULL) THEN NULL
                ELSE max(ends_at) FILTER (WHERE starts_at <= now()) END AS until,
           min(starts_at) FILTER (WHERE starts_at > now()) AS next_from,
           (array_agg(ends_at ORDER BY starts_at) FILTER (WHERE starts_at > now()))[1] AS next_until
    FROM flag_schedule_freezes
    WHERE cluster = %(cluster)s
    GROUP BY uid
) AS z ON true
