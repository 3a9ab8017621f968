-- Whether rows are due, also ones that another transaction holds at this moment.
SELECT EXISTS (
    SELECT FROM feature_flag_schedules AS s
    WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now() AND s.id <> ALL (%(set_aside)s)
) OR EXISTS (
    SELECT FROM feature_flag_schedules AS s
    WHERE s.status = 'failed' AND s.next_retry_at IS NOT NULL AND NOT s.suspended AND s.next_retry_at <= now()
      AND s.id <> ALL (%(set_aside)s)
)
