-- Expands: finds whether a due row needs the full statement; never sees a plain row. One index for first attempts and
-- retries, because each index is considered at every change of a row.
-- Built without blocking writers; an invalid leftover of an interrupted build is dropped first.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_gate;

CREATE INDEX CONCURRENTLY idx_feature_flag_schedules_gate ON @schema@.feature_flag_schedules
    ((CASE status WHEN 'pending' THEN scheduled_at ELSE next_retry_at END))
    WHERE requires > 0 AND (status = 'pending' OR next_retry_at IS NOT NULL) AND NOT suspended;
