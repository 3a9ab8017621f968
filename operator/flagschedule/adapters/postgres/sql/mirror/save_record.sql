-- The object's record as the decision wants it.
INSERT INTO flag_schedule_objects
    (uid, schedule_id, cluster, namespace, name, generation, flag_key, environment, scheduled_at, arming_hash,
     change_hash, retry_request, created_at, deleted_at, state, reason, applied_at, created_by, changed_by, origin)
VALUES (%(uid)s, %(schedule_id)s, %(cluster)s, %(namespace)s, %(name)s, %(generation)s, %(flag_key)s,
        %(environment)s, %(scheduled_at)s, %(arming_hash)s, %(change_hash)s, %(retry_request)s, %(created_at)s,
        CASE WHEN %(deleted)s THEN now() END, %(state)s, %(reason)s, %(applied_at)s, %(created_by)s, %(changed_by)s,
        %(origin)s)
ON CONFLICT (uid) DO UPDATE SET
    schedule_id = excluded.schedule_id, generation = excluded.generation, flag_key = excluded.flag_key,
    environment = excluded.environment, scheduled_at = excluded.scheduled_at, arming_hash = excluded.arming_hash,
    change_hash = excluded.change_hash, retry_request = excluded.retry_request,
    deleted_at = CASE WHEN %(deleted)s THEN coalesce(flag_schedule_objects.deleted_at, now()) END, state = excluded.state,
    reason = excluded.reason, applied_at = excluded.applied_at, created_by = excluded.created_by,
    changed_by = excluded.changed_by, origin = excluded.origin
