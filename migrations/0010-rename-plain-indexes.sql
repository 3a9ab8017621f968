-- Contracts: gives the original's plain indexes names of ours, because a name alone may be another table's index:
-- only an index of our table may be dropped, and the next step can drop by name only.
SET LOCAL lock_timeout = '10s';

DO $$
DECLARE
    plain name;
BEGIN
    FOR plain IN
        SELECT c.relname
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = 'feature_flag_schedules'::regclass
          AND c.relname IN ('idx_schedules_flag_id', 'idx_schedules_scheduled_at', 'idx_schedules_status',
                            'idx_schedules_next_retry_at')
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', plain,
                       replace(plain::text, 'idx_schedules', 'idx_feature_flag_schedules_plain'));
    END LOOP;
END
$$;
