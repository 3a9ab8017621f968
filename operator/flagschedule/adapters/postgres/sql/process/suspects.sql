-- Schedules that are tried alone: those that were set aside until now, and those that are due of the flags in suspects.
-- Those in stuck are left out, because the database refused to record what became of them. No row is locked.
(
    SELECT s.id, s.flag_id, s.xmin::text AS version, s.set_aside_count
    FROM feature_flag_schedules AS s
    WHERE s.set_aside_count > 0 AND NOT s.suspended AND s.status IN ('pending', 'failed') AND s.set_aside_until <= now()
      AND (/* is_due */ false)
      AND s.id <> ALL (%(stuck)s)
    ORDER BY s.set_aside_until
    LIMIT /* limit */ 100
)
UNION ALL
(
    SELECT s.id, s.flag_id, s.xmin::text, 0
    FROM feature_flag_schedules AS s
    WHERE s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended AND s.next_retry_at <= now()
      AND (/* is_not_aside */ false)
      AND s.flag_id = ANY (%(suspects)s) AND s.id <> ALL (%(stuck)s)
    ORDER BY s.next_retry_at, s.scheduled_at, s.id
    LIMIT /* limit */ 100
)
UNION ALL
(
    SELECT s.id, s.flag_id, s.xmin::text, 0
    FROM feature_flag_schedules AS s
    WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
      AND (/* is_not_aside */ false)
      AND s.flag_id = ANY (%(suspects)s) AND s.id <> ALL (%(stuck)s)
    ORDER BY s.scheduled_at, s.id
    LIMIT /* limit */ 100
)
