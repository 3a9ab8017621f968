-- Expands: the columns of the original's second step, for a database that is still at its first.
SET LOCAL lock_timeout = '10s';

ALTER TABLE feature_flag_schedules
    ADD COLUMN IF NOT EXISTS retry_count integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS max_retries integer NOT NULL DEFAULT 3,
    ADD COLUMN IF NOT EXISTS next_retry_at timestamptz,
    ADD COLUMN IF NOT EXISTS last_error text;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'feature_flag_schedules'::regclass AND conname = 'max_retries_check'
    ) THEN
        ALTER TABLE feature_flag_schedules
            ADD CONSTRAINT max_retries_check CHECK (max_retries BETWEEN 0 AND 10);
    END IF;
END
$$;
