-- What is due and was left, by reason: how many rows, and the first few of them. Up to 10,000 first attempts and as
-- many retries are looked at. Rows that a freeze holds or that wait for an earlier change do not count. Rows that can
-- be locked now ("not reached") came due meanwhile, or the run had no time left for them.
WITH due AS MATERIALIZED (
    (
        SELECT s.id, s.flag_id, s.scheduled_at, s.requires, s.follows,
               s.set_aside_count > 0 AND s.set_aside_until IS NOT NULL AS aside
        FROM feature_flag_schedules AS s
        WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
          AND CASE WHEN EXISTS (SELECT FROM feature_flags AS f WHERE f.id = s.flag_id AND /* held */ false) THEN NULL
              ELSE true END IS NOT NULL
        ORDER BY s.scheduled_at, s.id
        LIMIT 10000
    )
    UNION ALL
    (
        SELECT s.id, s.flag_id, s.scheduled_at, s.requires, s.follows,
               s.set_aside_count > 0 AND s.set_aside_until IS NOT NULL
        FROM feature_flag_schedules AS s
        WHERE s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended AND s.next_retry_at <= now()
          AND CASE WHEN EXISTS (SELECT FROM feature_flags AS f WHERE f.id = s.flag_id AND /* held */ false) THEN NULL
              ELSE true END IS NOT NULL
        ORDER BY s.next_retry_at, s.scheduled_at, s.id
        LIMIT 10000
    )
),
free AS MATERIALIZED (
    SELECT s.id
    FROM feature_flag_schedules AS s
    JOIN feature_flags AS f ON f.id = s.flag_id
    WHERE s.id = ANY (ARRAY(SELECT d.id FROM due AS d WHERE NOT d.aside))
    FOR NO KEY UPDATE OF f SKIP LOCKED
    FOR UPDATE OF s SKIP LOCKED
),
reasons AS (
    SELECT d.id,
           CASE
               WHEN d.aside THEN 'set aside'
               WHEN d.requires > 1 THEN 'needs a newer version of the processor'
               WHEN EXISTS (
                   SELECT FROM feature_flag_schedules AS b
                   WHERE b.id = d.follows
                     AND (b.status = 'pending' OR b.status = 'failed' AND b.next_retry_at IS NOT NULL)
               ) THEN NULL
               WHEN EXISTS (
                   SELECT FROM feature_flag_schedules AS g, feature_flag_schedules AS e
                   WHERE g.flag_id = d.flag_id AND g.expect IS NOT NULL
                     AND (g.status = 'pending' OR g.next_retry_at IS NOT NULL) AND NOT g.suspended
                     AND (g.scheduled_at, g.id) <= (d.scheduled_at, d.id)
                     AND e.flag_id = d.flag_id
                     AND (e.status = 'pending' OR e.next_retry_at IS NOT NULL) AND NOT e.suspended
                     AND (e.scheduled_at, e.id) < (g.scheduled_at, g.id)
               ) THEN NULL
               WHEN f.id IS NULL AND NOT row_security_active('feature_flags') THEN 'the flag does not exist'
               WHEN f.id IS NULL THEN 'the flag is hidden from the processor, as by row-level security'
               WHEN EXISTS (SELECT FROM free AS x WHERE x.id = d.id) THEN 'not reached'
               WHEN row_security_active('feature_flags') OR row_security_active('feature_flag_schedules')
                   THEN 'locked by another transaction, or kept from the processor by row-level security'
               ELSE 'locked by another transaction'
           END AS reason
    FROM due AS d
    LEFT JOIN feature_flags AS f ON f.id = d.flag_id
)
SELECT r.reason, count(*), (array_agg(r.id::text))[1:5]
FROM reasons AS r
WHERE r.reason IS NOT NULL
GROUP BY r.reason
ORDER BY r.reason
