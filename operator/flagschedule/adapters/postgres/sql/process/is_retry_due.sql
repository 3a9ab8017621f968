-- Whether a retry is due, also one that another transaction holds at this moment. As in is_first_attempt_due.sql.
SELECT coalesce((
    SELECT true FROM feature_flag_schedules AS s
    WHERE s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended AND s.next_retry_at <= now()
      AND (/* is_not_aside */ false) AND s.flag_id <> ALL (%(left_out)s)
    ORDER BY s.next_retry_at, s.scheduled_at, s.id
    LIMIT 1
), false)
