-- Notices that are past their time, delivered or not. One of a freeze stays while its change is held, or it would be written again.
FROM flag_schedule_notices AS old
WHERE old.ctid >= %(first)s::tid AND old.ctid < %(end)s::tid
  AND old.created_at < now() - %(notice_days)s * interval '24 hours'
  AND (old.once IS NULL OR (
      SELECT s.id FROM feature_flag_schedules AS s
      WHERE s.id = (old.data ->> 'scheduleId')::uuid
        AND (s.status = 'pending' OR s.status = 'failed' AND s.next_retry_at IS NOT NULL)
  ) IS NULL)
