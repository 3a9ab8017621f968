-- Notices whose try is due, and the time: of each namespace the oldest first, and the namespaces in turns. Of a flood only
-- those that are due for longest, so that the look stays cheap.
SELECT n.*, now() AS now
FROM (SELECT) AS always
LEFT JOIN (
    SELECT o.id, o.event, o.subject, o.happened_at, o.data, o.failures, o.next_try_at,
           row_number() OVER (PARTITION BY o.namespace ORDER BY o.next_try_at, o.id) AS turn
    FROM (
        SELECT * FROM flag_schedule_notices
        WHERE cluster = %(cluster)s AND ended_at IS NULL AND next_try_at <= now()
        ORDER BY next_try_at
        LIMIT 10000
    ) AS o
    ORDER BY turn, o.next_try_at
    LIMIT %(limit)s
) AS n ON true
ORDER BY n.turn, n.next_try_at
