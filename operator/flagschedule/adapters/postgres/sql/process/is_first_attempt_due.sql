-- Whether a first attempt is due, also one that another transaction holds at this moment.
-- Left out are schedules that stepped aside and those of the flags in suspects: they are tried alone.
--
-- Not by EXISTS: where many rows are pending for the future it takes many to be due, and hopes to find one soon by
-- reading the whole table. An order that only the partial index has leaves it no choice.
SELECT coalesce((
    SELECT true FROM feature_flag_schedules AS s
    WHERE s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
      AND CASE WHEN s.set_aside_until IS NULL THEN 0 ELSE least(s.set_aside_count, 1) END <> 1 AND s.flag_id <> ALL (%(suspects)s)
    ORDER BY s.scheduled_at, s.id
    LIMIT 1
), false)
