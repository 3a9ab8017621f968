-- Used while the full text is needed: whether any row could be applied now, also if another transaction has locked it;
-- the time of this look; and which freezes are active.
WITH taken AS MATERIALIZED (
    (
        /* first_attempts */ SELECT
    )
    UNION ALL
    (
        /* retries */ SELECT
    )
)
SELECT EXISTS (
           /* claim */ SELECT
       )
       -- Behind so many rows that wait there may be one that does not.
       OR (SELECT count(*) FROM taken) >= /* limit */ 100 AS due,
       to_json(now()) #>> '{}' AS at,
       (SELECT array_agg(z.id ORDER BY z.id) FROM flag_schedule_freezes AS z
        WHERE z.starts_at <= now() AND (z.ends_at IS NULL OR z.ends_at > now())) AS freezes
