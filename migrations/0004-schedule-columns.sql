-- Expands: our own columns, all nullable or with a default, so that programs that do not know them go on.
SET LOCAL lock_timeout = '10s';

-- The original never took the last retry, yet left its time in the row. Under our reading such a row would
-- wake up by surprise. Done only before our first column exists: afterwards such rows are rightly due.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'feature_flag_schedules'::regclass AND attname = 'arming' AND NOT attisdropped
    ) THEN
        UPDATE feature_flag_schedules
        SET next_retry_at = NULL
        WHERE status = 'failed' AND next_retry_at IS NOT NULL AND retry_count >= max_retries;
    END IF;
END
$$;

ALTER TABLE feature_flag_schedules
    ADD COLUMN IF NOT EXISTS reason text,
    ADD COLUMN IF NOT EXISTS suspended boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS not_after timestamptz,
    ADD COLUMN IF NOT EXISTS arming integer NOT NULL DEFAULT 0;
