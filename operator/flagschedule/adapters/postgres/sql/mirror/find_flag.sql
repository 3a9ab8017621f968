-- The flag of this key. The host's table may hold more than one, which the status reports.
SELECT f.id FROM feature_flags AS f
WHERE f.flag_key = %(flag_key)s AND f.environment = %(environment)s
LIMIT 2
