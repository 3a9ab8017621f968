-- Expands: finds the end of a window by its start.
-- Built without blocking writers; an invalid leftover of an interrupted build is dropped first.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_follows;

CREATE INDEX CONCURRENTLY idx_feature_flag_schedules_follows ON @schema@.feature_flag_schedules (follows)
    WHERE follows IS NOT NULL;
