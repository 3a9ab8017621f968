-- Expands: the same for retries.
-- Built without blocking writers; an invalid leftover of an interrupted build is dropped first.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_gate_retry;

CREATE INDEX CONCURRENTLY idx_feature_flag_schedules_gate_retry ON @schema@.feature_flag_schedules (next_retry_at)
    WHERE requires > 0 AND status = 'failed' AND next_retry_at IS NOT NULL AND NOT suspended;
