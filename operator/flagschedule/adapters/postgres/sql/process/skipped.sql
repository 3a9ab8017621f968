-- What is due and was left, by the reason that can be known: how many, and the first few. Up to 10,000 of a kind are
-- looked at. What can be locked now was left for want of time, or came due meanwhile.
WITH due AS MATERIALIZED (
    (
        SELECT s.id, s.flag_id, s.set_aside_count > 0 AND s.set_aside_until IS NOT NULL AS aside
        FROM feature_flag_schedules AS s
        WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
        ORDER BY s.scheduled_at, s.id
        LIMIT 10000
    )
    UNION ALL
    (
        SELECT s.id, s.flag_id, s.set_aside_count > 0 AND s.set_aside_until IS NOT NULL
        FROM feature_flag_schedules AS s
        WHERE s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended AND s.next_retry_at <= now()
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
GROUP BY r.reason
ORDER BY r.reason
