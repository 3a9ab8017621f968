-- Contracts: the original's plain indexes. With history the planner walks them through every finished row.
-- The original's queries stay correct without them, and its claim is served by the partial ones.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_plain_flag_id;

DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_plain_scheduled_at;

DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_plain_status;

DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_plain_next_retry_at;
