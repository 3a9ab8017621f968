-- While a freeze is active: how many first attempts, and how many retries, are due and held; and for how long the oldest
-- first attempt has been due that is not held.
SELECT count(*) FILTER (WHERE c.is_held AND c.status = 'pending') AS first_attempts,
       count(*) FILTER (WHERE c.is_held AND c.status = 'failed') AS retries,
       coalesce(extract(epoch FROM now() - min(greatest(c.scheduled_at, '0001-01-01Z'))
           FILTER (WHERE c.status = 'pending' AND NOT c.is_held))::float, 0) AS oldest_due
FROM (
    SELECT s.status, s.scheduled_at, /* held */ false AS is_held
    FROM (
        /* due */ SELECT
    ) AS s
    LEFT JOIN feature_flags AS f ON f.id = s.flag_id
) AS c
