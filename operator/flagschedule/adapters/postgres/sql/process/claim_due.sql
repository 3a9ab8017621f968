-- First attempts that are due. Schedules that stepped aside and those of the flags in suspects are tried alone, elsewhere.
-- The flag's row is locked before the schedule's, like a cascading delete does, and neither is waited for.
-- Status and LIMIT are literals: as parameters they lose the partial index.
-- Each batch begins where the last one ended: before it the index is full of entries of rows that are done, and each
-- batch would pass them all again, the more the longer an old snapshot keeps them.
-- Lines that end with `-- plain` belong to the plain text alone, lines that begin with `-- full:` to the full one.
SELECT s.id, s.flag_id, s.updates, s.scheduled_at, s.not_after, s.arming, s.retry_count, s.status,
       f.flag_key, f.environment, f.enabled, f.rollout_percentage, f.updated_at, s.xmin AS version
       -- full: , s.next_retry_at, s.expect, s.on_mismatch, s.follows
FROM feature_flag_schedules AS s
JOIN feature_flags AS f ON f.id = s.flag_id
WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
  -- A pair, because of a time between two others a plan for all times expects few rows: it would read and sort them all.
  AND (s.scheduled_at, s.id) >= (%(since)s, %(since_id)s)
  -- Stepped aside. Of this form the planner expects, with statistics or without, that it leaves out hardly any row.
  AND CASE WHEN s.set_aside_until IS NULL THEN 0 ELSE least(s.set_aside_count, 1) END <> 1 AND s.flag_id <> ALL (%(suspects)s)
  -- Not by a bare condition: of one on a column that was never analysed the planner expects that hardly any row meets it.
  AND CASE WHEN s.requires <= 0 THEN true END IS NOT NULL AND NOT (SELECT g.closed FROM gate AS g)  -- plain
  -- full: AND CASE WHEN s.requires <= 1 AND NOT (/* held */ false) THEN true END IS NOT NULL
ORDER BY s.scheduled_at, s.id
LIMIT /* limit */ 100
FOR NO KEY UPDATE OF f SKIP LOCKED
FOR UPDATE OF s SKIP LOCKED
