-- Whether a first attempt is due, also one that another transaction holds at this moment.
-- Schedules that are set aside and those of the flags in left_out do not count.
--
-- Not by EXISTS: where many rows are pending for the future, the planner would expect many of them to be due, and
-- read the whole table to find one early. Only the partial index has this order, so the planner has to use it.
SELECT coalesce((
    SELECT true FROM feature_flag_schedules AS s
    WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
      AND (/* is_not_aside */ false) AND s.flag_id <> ALL (%(left_out)s)
    ORDER BY s.scheduled_at, s.id
    LIMIT 1
), false)
