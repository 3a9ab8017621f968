-- Expands: finds the unfinished rows of a flag in the order of time; never sees a finished row.
-- Built without blocking writers; an invalid leftover of an interrupted build is dropped first.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_unfinished;

CREATE INDEX CONCURRENTLY idx_feature_flag_schedules_unfinished ON @schema@.feature_flag_schedules (flag_id, scheduled_at, id)
    WHERE status = 'pending' OR next_retry_at IS NOT NULL;
