-- Whether the plain statement may not be used: a row that it does not know how to judge is due, or a freeze is active.
-- A retry that has ended has no time, and is not in the index.
SELECT coalesce((SELECT true FROM feature_flag_schedules AS s
                 WHERE s.requires > 0 AND (s.status = 'pending' OR s.next_retry_at IS NOT NULL) AND NOT s.suspended
                   AND CASE s.status WHEN 'pending' THEN s.scheduled_at ELSE s.next_retry_at END <= now()
                 ORDER BY CASE s.status WHEN 'pending' THEN s.scheduled_at ELSE s.next_retry_at END LIMIT 1), false)
    OR EXISTS (SELECT FROM flag_schedule_freezes AS z
               WHERE z.starts_at <= now() AND (z.ends_at IS NULL OR z.ends_at > now())) AS closed
