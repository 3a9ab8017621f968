-- Whether the plain statement may not be used: a row that it does not know how to judge is due, or a freeze is active.
SELECT coalesce((SELECT true FROM feature_flag_schedules AS s
                 WHERE s.requires > 0 AND s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
                 ORDER BY s.scheduled_at, s.id LIMIT 1), false)
    OR coalesce((SELECT true FROM feature_flag_schedules AS s
                 WHERE s.requires > 0 AND s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended
                   AND s.next_retry_at <= now()
                 ORDER BY s.next_retry_at LIMIT 1), false)
    OR EXISTS (SELECT FROM flag_schedule_freezes AS z
               WHERE z.starts_at <= now() AND (z.ends_at IS NULL OR z.ends_at > now())) AS closed
