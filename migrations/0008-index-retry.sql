-- Expands: finds retries that are due; exhausted rows have no next_retry_at and are not in it.
-- Built without blocking writers; an invalid leftover of an interrupted build is dropped first.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_retry;

CREATE INDEX CONCURRENTLY idx_feature_flag_schedules_retry ON @schema@.feature_flag_schedules (next_retry_at, scheduled_at, id)
    WHERE status = 'failed' AND next_retry_at IS NOT NULL AND NOT suspended;
