-- Part of other statements: what is due while a freeze is active at all; each part ends at 100,000 rows.
(
    SELECT d.* FROM feature_flag_schedules AS d
    WHERE (SELECT EXISTS (SELECT FROM flag_schedule_freezes AS a
                          WHERE a.starts_at <= now() AND (a.ends_at IS NULL OR a.ends_at > now())))
      AND d.status = 'pending' AND NOT d.suspended AND d.scheduled_at <= now()
    ORDER BY d.scheduled_at, d.id LIMIT 100000
)
UNION ALL
(
    SELECT d.* FROM feature_flag_schedules AS d
    WHERE (SELECT EXISTS (SELECT FROM flag_schedule_freezes AS a
                          WHERE a.starts_at <= now() AND (a.ends_at IS NULL OR a.ends_at > now())))
      AND d.status = 'failed' AND d.next_retry_at IS NOT NULL AND NOT d.suspended AND d.next_retry_at <= now()
    ORDER BY d.next_retry_at, d.scheduled_at, d.id LIMIT 100000
)
