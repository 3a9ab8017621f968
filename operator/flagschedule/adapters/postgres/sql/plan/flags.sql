-- The flags of these keys and environments. The host's table may hold more than one, which the status reports.
SELECT f.flag_key, f.environment, array_agg(f.id) AS ids
FROM feature_flags AS f
JOIN unnest(%(keys)s::text[], %(environments)s::text[]) AS wanted (flag_key, environment)
    ON f.flag_key = wanted.flag_key AND f.environment = wanted.environment
GROUP BY f.flag_key, f.environment
