-- Give up what could not be delivered in time.
WITH dropped AS (
    UPDATE flag_schedule_notices
    SET ended_at = now()
    WHERE cluster = %(cluster)s AND ended_at IS NULL AND created_at < now() - make_interval(secs => %(seconds)s)
    RETURNING id
)
SELECT count(*) AS count FROM dropped
