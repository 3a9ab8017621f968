-- Whether a first attempt is due, also one that another transaction holds at this moment.
--
-- Not by EXISTS: where many rows are pending for the future it takes many to be due, and hopes to find one soon by
-- reading the whole table. An order that only the partial index has leaves it no choice.
SELECT coalesce((
    SELECT true FROM feature_flag_schedules AS s
    WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now() AND s.id <> ALL (%(set_aside)s)
    ORDER BY s.scheduled_at, s.id
    LIMIT 1
), false)
