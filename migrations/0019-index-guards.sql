-- Expands: finds the first guarded row of a flag.
-- Built without blocking writers; an invalid leftover of an interrupted build is dropped first.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_guards;

CREATE INDEX CONCURRENTLY idx_feature_flag_schedules_guards ON @schema@.feature_flag_schedules (flag_id, scheduled_at, id)
    WHERE expect IS NOT NULL AND (status = 'pending' OR next_retry_at IS NOT NULL);
