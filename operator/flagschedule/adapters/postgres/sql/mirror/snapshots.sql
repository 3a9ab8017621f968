-- Records with their rows; of the row's successful attempt, which properties it really set; of a row that is due, which
-- freeze holds it. The flag as the record names it: the table of flags may be locked.
SELECT o.uid, o.namespace, o.name, o.created_at, o.schedule_id, o.generation, o.flag_key, o.environment,
       o.scheduled_at AS planned_at, o.arming_hash, o.change_hash, o.retry_request, o.deleted_at IS NOT NULL AS deleted,
       o.state AS outcome, o.reason AS outcome_reason, o.applied_at AS outcome_applied_at,
       o.created_by, o.changed_by, o.origin,
       s.id, s.scheduled_at, s.status, s.updates, s.expect, s.on_mismatch, s.max_retries, s.retry_initial_seconds,
       s.retry_max_seconds, s.suspended, s.overrides, s.not_after, s.arming, s.reason,
       s.applied_at, s.retry_count, s.next_retry_at, s.last_error,
       CASE WHEN s.set_aside_count > 0 THEN s.set_aside_until END AS set_aside_until, s.set_aside_count,
       a.set_enabled, a.set_rollout_percentage,
       h.name AS freeze, h.reason AS freeze_reason, h.ends_at AS freeze_ends_at,
       now() AS now
FROM flag_schedule_objects AS o
LEFT JOIN feature_flag_schedules AS s ON s.id = o.schedule_id
LEFT JOIN flag_schedule_attempts AS a
    ON a.schedule_id = s.id AND a.arming = s.arming AND a.attempt = least(s.retry_count, 2147483646) + 1 AND a.outcome = 'applied'
LEFT JOIN LATERAL (
    SELECT z.name, z.reason, z.ends_at
    FROM flag_schedule_freezes AS z, (SELECT o.flag_key, o.environment) AS f
    WHERE (/* is_due */ false)
      AND NOT s.suspended AND /* holds */ false
    ORDER BY z.ends_at DESC NULLS FIRST, z.name
    LIMIT 1
) AS h ON true
WHERE /* which */ true
