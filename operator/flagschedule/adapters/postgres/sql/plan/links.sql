-- What planning has to know: what has no outcome, what is recent, at least the last 60, and all of the object's chains.
SELECT r.occurrence, r.step, r.part, r.flag_key, r.environment, r.plan, r.schedule_id, r.is_chain, r.is_moved, r.due_at,
       r.updates AS planned_updates, r.state AS kept_state, r.reason AS kept_reason, r.applied_at AS kept_applied_at,
       r.error AS kept_error,
       s.id, s.status, s.reason, s.applied_at, s.next_retry_at, s.last_error, s.arming, s.suspended, s.scheduled_at,
       s.updates, s.max_retries, s.expect, s.on_mismatch, s.not_after, s.retry_initial_seconds, s.retry_max_seconds,
       s.retry_count
FROM flag_plan_rows AS r
LEFT JOIN feature_flag_schedules AS s ON s.id = r.schedule_id
WHERE r.lineage = %(lineage)s
  AND (r.state IS NULL OR r.state = 'waiting'
       OR r.due_at >= least(now() - %(recent)s::interval, coalesce((
           SELECT past.due_at FROM flag_plan_rows AS past
           WHERE past.lineage = %(lineage)s AND past.due_at <= now()
           ORDER BY past.due_at DESC OFFSET 59 LIMIT 1
       ), '-infinity'))
       OR r.occurrence = ANY (%(chains)s)
       OR r.is_chain AND r.plan = %(uid)s)
