-- Records of plans that were deleted long ago.
FROM flag_plans AS old
WHERE old.ctid >= %(first)s::tid AND old.ctid < %(end)s::tid
  AND old.deleted_at < now() - %(record_days)s * interval '24 hours'
