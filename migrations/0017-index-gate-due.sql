-- Expands: finds whether a due row needs the full statement; never sees a plain row.
-- Built without blocking writers; an invalid leftover of an interrupted build is dropped first.
-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS @schema@.idx_feature_flag_schedules_gate_due;

CREATE INDEX CONCURRENTLY idx_feature_flag_schedules_gate_due ON @schema@.feature_flag_schedules (scheduled_at, id)
    WHERE requires > 0 AND status = 'pending' AND NOT suspended;
