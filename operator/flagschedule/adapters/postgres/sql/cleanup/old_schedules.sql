-- Applied and cancelled rows that are past their time. Never a failed one: it is never deleted, or due for a retry. A plan's
-- rows go earlier, failed ones, too, because they are many, and their outcomes are kept by their links.
-- Never a row that an unfinished one follows: it decides whether the end of a window is made.
FROM feature_flag_schedules AS old
WHERE old.ctid >= %(first)s::tid AND old.ctid < %(end)s::tid
  AND CASE
      -- A plan's row: of an operator's cluster, with an id of version 8.
      WHEN old.cluster IS NOT NULL AND substr(old.id::text, 15, 1) = '8' THEN
          (old.status = 'applied'
           AND coalesce(old.applied_at, old.updated_at)
               < now() - least(%(applied_days)s, %(plan_applied_days)s) * interval '24 hours'
           OR old.status = 'cancelled' AND old.updated_at < now() - %(cancelled_days)s * interval '24 hours'
           OR old.status = 'failed' AND old.next_retry_at IS NULL
           AND old.updated_at < now() - %(plan_failed_days)s * interval '24 hours')
          -- Counted, because the planner may turn EXISTS into a scan of all schedules.
          AND (
              SELECT count(*) FROM feature_flag_schedules AS e
              WHERE e.follows = old.id AND (e.status = 'pending' OR e.status = 'failed' AND e.next_retry_at IS NOT NULL)
          ) = 0
      ELSE
          old.status = 'applied'
          AND coalesce(old.applied_at, old.updated_at) < now() - %(applied_days)s * interval '24 hours'
          OR old.status = 'cancelled' AND old.updated_at < now() - %(cancelled_days)s * interval '24 hours'
  END
