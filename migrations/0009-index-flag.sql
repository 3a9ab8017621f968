-- Expands: finds the schedules of a flag, for people and for the cascade when a flag is deleted.
-- Built without blocking writers; an invalid leftover of an interrupted build is dropped first.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_flag;

CREATE INDEX CONCURRENTLY idx_feature_flag_schedules_flag ON @schema@.feature_flag_schedules (flag_id, scheduled_at);
