-- Whether the plain text must not be used, because a row is due that it cannot judge, or a freeze is active.
-- A failed row without another retry has no next_retry_at, and is not in the partial index.
SELECT coalesce((SELECT true FROM feature_flag_schedules AS s
                 WHERE s.requires > 0 AND (s.status = 'pending' OR s.next_retry_at IS NOT NULL) AND NOT s.suspended
                   AND CASE s.status WHEN 'pending' THEN s.scheduled_at ELSE s.next_retry_at END <= now()
                 ORDER BY CASE s.status WHEN 'pending' THEN s.scheduled_at ELSE s.next_retry_at END LIMIT 1), false)
    OR EXISTS (SELECT FROM flag_schedule_freezes AS z
               WHERE z.starts_at <= now() AND (z.ends_at IS NULL OR z.ends_at > now())) AS closed
