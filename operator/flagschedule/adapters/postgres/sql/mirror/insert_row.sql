-- A new schedule. Its id is a UUID of version 7. It begins with the object's creation, to the second that Kubernetes keeps,
-- so that of two schedules for the same time the one whose object was created later wins, in any order of mirroring.
-- Below that comes the time of mirroring in milliseconds, then 26 random bits. Rows made together stay together in the
-- primary key, which halves the processor's WAL once there is history.
INSERT INTO feature_flag_schedules
    (id, flag_id, scheduled_at, status, updates, expect, on_mismatch, requires, max_retries, retry_initial_seconds,
     retry_max_seconds, suspended, not_after, arming, cluster, namespace, overrides)
SELECT
    (
        lpad(to_hex(t.created_ms), 12, '0')
        || to_hex((7::bigint << 12) | (t.mirrored_ms >> 36))
        || to_hex((2::bigint << 30) | ((t.mirrored_ms >> 6) & ((1::bigint << 30) - 1)))
        || lpad(to_hex(((t.mirrored_ms & 63) << 26) | floor(random() * (1 << 26))::bigint), 8, '0')
    )::uuid,
    %(flag_id)s, %(scheduled_at)s, %(status)s, %(updates)s, %(expect)s, %(on_mismatch)s, %(requires)s, %(max_retries)s,
    %(retry_initial_seconds)s, %(retry_max_seconds)s, %(suspended)s, %(not_after)s, %(arming)s, %(cluster)s, %(namespace)s,
    %(overrides)s
FROM (
    SELECT extract(epoch FROM date_trunc('second', %(created_at)s::timestamptz))::bigint * 1000 AS created_ms,
           (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS mirrored_ms
) AS t
RETURNING id
