-- Delete old schedules, and count them by their state. Locked rows are left to the next run: their transaction may be
-- long, and may wait for us.
WITH gone AS (
    DELETE FROM feature_flag_schedules AS old
    WHERE old.ctid = ANY (ARRAY(
        SELECT old.ctid
        /* old */ FROM
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING old.status::text AS label
)
SELECT label, count(*) FROM gone GROUP BY label
