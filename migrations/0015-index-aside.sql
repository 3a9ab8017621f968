-- Expands: finds schedules that stepped aside; never sees another row.
-- Built without blocking writers; an invalid leftover of an interrupted build is dropped first.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_aside;

CREATE INDEX CONCURRENTLY idx_feature_flag_schedules_aside ON @schema@.feature_flag_schedules (set_aside_until)
    WHERE set_aside_count > 0 AND NOT suspended AND status IN ('pending', 'failed');
