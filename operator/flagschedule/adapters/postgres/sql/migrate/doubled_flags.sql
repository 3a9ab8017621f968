-- Flags that stand twice in the host's table: no object could say which of the rows it means.
SELECT format('feature_flags has %s rows of the key %L in the environment %L; delete all but one, and add UNIQUE (flag_key, environment)',
              count(*), f.flag_key, f.environment)
FROM feature_flags AS f
GROUP BY f.flag_key, f.environment
HAVING count(*) > 1
LIMIT 10
