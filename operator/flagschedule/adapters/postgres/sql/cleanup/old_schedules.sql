-- Applied and cancelled rows that are past their time. Never a failed one: it is never deleted, or due for a retry.
FROM feature_flag_schedules AS old
WHERE old.ctid >= %(first)s::tid AND old.ctid < %(end)s::tid
  AND (old.status = 'applied'
       AND coalesce(old.applied_at, old.updated_at) < now() - %(applied_days)s * interval '24 hours'
       OR old.status = 'cancelled' AND old.updated_at < now() - %(cancelled_days)s * interval '24 hours')
