-- Expands: a schedule that the host's database refuses for a reason that is no outcome steps aside for a time, and runs
-- count what they left. All columns are nullable or have a default, so that programs that do not know them go on.
SET LOCAL lock_timeout = '10s';

ALTER TABLE feature_flag_schedules
    ADD COLUMN IF NOT EXISTS set_aside_until timestamptz,
    ADD COLUMN IF NOT EXISTS set_aside_count integer NOT NULL DEFAULT 0;

-- attempted_at is when the change was made; claimed_at is when its transaction began, if that was over 0.1 s earlier.
ALTER TABLE flag_schedule_attempts
    ADD COLUMN IF NOT EXISTS claimed_at timestamptz;

ALTER TABLE flag_schedule_runs
    ADD COLUMN IF NOT EXISTS skipped integer,
    ADD COLUMN IF NOT EXISTS refused_cache_keys integer;

-- Ends a statement whose change of a flag did not happen as requested. SQL itself cannot raise an error of its own.
CREATE OR REPLACE FUNCTION flag_schedule_refuse(effect text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'FSNOT', MESSAGE = effect;
END
$$;
