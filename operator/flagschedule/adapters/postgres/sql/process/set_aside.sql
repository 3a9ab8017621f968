-- Sets one due schedule aside, for longer each time: the database refused it for a reason that is no outcome of a
-- change. No attempt is consumed. A row that was changed since it was read is left as it is. delays has the wait in
-- seconds for the first time, for the second time and so on.
WITH aside AS MATERIALIZED (
    SELECT s.id, least(greatest(s.set_aside_count, 0), 1000000) AS count
    FROM feature_flag_schedules AS s
    JOIN feature_flags AS f ON f.id = s.flag_id
    WHERE s.id = %(schedule_id)s AND s.xmin = %(version)s::xid AND NOT s.suspended
      AND (/* is_due */ false)
      AND NOT (/* held */ false)
    FOR UPDATE OF s SKIP LOCKED
),
schedules AS (
    UPDATE feature_flag_schedules AS s
    SET set_aside_count = a.count + 1,
        set_aside_until = now() + make_interval(
            secs => (%(delays)s::float8[])[least(a.count + 1, cardinality(%(delays)s::float8[]))]),
        last_error = %(error)s
    FROM aside AS a
    WHERE s.id = a.id
    RETURNING s.id, s.flag_id, s.set_aside_count, s.set_aside_until
),
statuses AS (
    INSERT INTO flag_schedule_status_outbox (schedule_id)
    SELECT s.id FROM schedules AS s
)
SELECT f.flag_key, f.environment, s.set_aside_count, to_json(s.set_aside_until) #>> '{}' AS set_aside_until
FROM schedules AS s
JOIN feature_flags AS f ON f.id = s.flag_id
