-- Records of objects that were deleted long ago. One whose row is kept, because it failed, stays with it.
FROM flag_schedule_objects AS old
WHERE old.ctid >= %(first)s::tid AND old.ctid < %(end)s::tid
  AND old.deleted_at < now() - %(record_days)s * interval '24 hours'
  AND (SELECT s.id FROM feature_flag_schedules AS s WHERE s.id = old.schedule_id) IS NULL
