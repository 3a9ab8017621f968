-- The row as the decision wants it; the caller holds its lock. Updates that stay are not written: another program
-- may have stored what we cannot send back.
UPDATE feature_flag_schedules
SET scheduled_at = %(scheduled_at)s, status = %(status)s, updates = coalesce(%(updates)s, updates),
    expect = CASE WHEN %(keeps_expect)s THEN expect ELSE %(expect)s END, on_mismatch = %(on_mismatch)s, requires = %(requires)s, max_retries = %(max_retries)s,
    retry_initial_seconds = %(retry_initial_seconds)s, retry_max_seconds = %(retry_max_seconds)s, cluster = %(cluster)s,
    namespace = %(namespace)s, overrides = %(overrides)s,
    suspended = %(suspended)s, not_after = %(not_after)s, arming = %(arming)s, reason = %(reason)s,
    applied_at = %(applied_at)s, retry_count = %(retry_count)s, next_retry_at = %(next_retry_at)s,
    set_aside_until = NULL, set_aside_count = 0, last_error = %(last_error)s, error_message = %(last_error)s, updated_at = now()
WHERE id = %(id)s
