-- Expands: finds first attempts that are due; never sees a finished row.
-- Built without blocking writers; an invalid leftover of an interrupted build is dropped first.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_due;

CREATE INDEX CONCURRENTLY idx_feature_flag_schedules_due ON @schema@.feature_flag_schedules (scheduled_at, id)
    WHERE status = 'pending' AND NOT suspended;
