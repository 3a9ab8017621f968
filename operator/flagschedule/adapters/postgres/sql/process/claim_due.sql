-- First attempts that are due, without schedules that are set aside and those of the flags in left_out.
-- The flag's row is locked before the schedule's, in the order of a cascading delete, and locked rows are skipped.
-- Status and LIMIT are literals: with parameters Postgres would not use the partial index.
-- Each batch begins where the last one ended: the index still has the entries of the rows that were done before, and
-- each batch would read them all again, the more the longer an old snapshot keeps them.
-- Lines that end with `-- plain` belong to the plain text alone, lines that begin with `-- full:` to the full one.
SELECT s.id, s.flag_id, s.updates, s.scheduled_at, s.not_after, s.arming, s.retry_count, s.status,
       f.flag_key, f.environment, f.enabled, f.rollout_percentage, f.updated_at, s.xmin AS version
       -- full: , s.next_retry_at, s.expect, s.on_mismatch, s.follows
FROM feature_flag_schedules AS s
JOIN feature_flags AS f ON f.id = s.flag_id
WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
  -- A pair, because for a time between two others the planner expects few rows: it would read and sort them all.
  AND (s.scheduled_at, s.id) >= (%(since)s, %(since_id)s)
  AND (/* is_not_aside */ false) AND s.flag_id <> ALL (%(left_out)s)
  -- CASE, because from a bare condition on a column that was never analysed the planner expects that few rows meet it.
  AND CASE WHEN s.requires <= 0 THEN true END IS NOT NULL AND NOT (SELECT g.closed FROM gate AS g)  -- plain
  -- full: AND CASE WHEN s.requires <= 1 AND NOT (/* held */ false) THEN true END IS NOT NULL
ORDER BY s.scheduled_at, s.id
LIMIT /* limit */ 100
FOR NO KEY UPDATE OF f SKIP LOCKED
FOR UPDATE OF s SKIP LOCKED
