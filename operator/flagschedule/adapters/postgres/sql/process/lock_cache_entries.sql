-- Cache entries that an earlier run left, because Redis was unavailable or the run was killed after its commit.
SELECT id, environment
FROM flag_schedule_cache_outbox
WHERE id > %(after)s
ORDER BY id
LIMIT /* limit */ 100
FOR UPDATE SKIP LOCKED
