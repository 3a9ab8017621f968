-- Versions of objects whose record is gone, and those that are as old as the oldest record of a deleted object.
FROM flag_schedule_changes AS old
WHERE old.ctid >= %(first)s::tid AND old.ctid < %(end)s::tid
  AND (old.seen_at < now() - %(record_days)s * interval '24 hours'
       OR (SELECT o.uid FROM flag_schedule_objects AS o WHERE o.uid = old.uid) IS NULL
          AND (SELECT p.uid FROM flag_plans AS p WHERE p.uid = old.uid) IS NULL)
