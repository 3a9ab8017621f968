-- Expands: changes that expect a value or follow another change, freezes, retry policies, and the gate that keeps
-- processors that do not know them from such rows. All columns are nullable or have a default.
SET LOCAL lock_timeout = '10s';

ALTER TABLE feature_flag_schedules
    ADD COLUMN IF NOT EXISTS requires smallint NOT NULL DEFAULT 0,  -- the oldest protocol that can process the row
    ADD COLUMN IF NOT EXISTS expect jsonb,                          -- values that the flag must have
    ADD COLUMN IF NOT EXISTS on_mismatch text,                      -- Fail, or Skip
    ADD COLUMN IF NOT EXISTS follows uuid,                          -- the start of the window that this row ends
    ADD COLUMN IF NOT EXISTS cluster text,                          -- of the object; null for other programs' rows
    ADD COLUMN IF NOT EXISTS namespace text,
    ADD COLUMN IF NOT EXISTS overrides text[],                      -- names of freezes that do not hold the row
    ADD COLUMN IF NOT EXISTS retry_initial_seconds integer,         -- null: the default policy
    ADD COLUMN IF NOT EXISTS retry_max_seconds integer;

-- No program may forget the gate for such a row.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = 'feature_flag_schedules'::regclass AND conname = 'feature_flag_schedules_gate'
    ) THEN
        ALTER TABLE feature_flag_schedules ADD CONSTRAINT feature_flag_schedules_gate
            CHECK ((expect IS NULL AND follows IS NULL) OR requires > 0) NOT VALID;
    END IF;
END
$$;

-- When changes are held. One row for each interval of a FlagFreeze; it is deleted with the freeze.
CREATE TABLE IF NOT EXISTS flag_schedule_freezes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster text NOT NULL,
    uid uuid NOT NULL,
    name text NOT NULL,
    reason text NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,         -- null: until the freeze is deleted
    environments text[],         -- null: all; so are the next two
    namespaces text[],           -- patterns of LIKE, for objects of this cluster
    flag_keys text[],            -- patterns of LIKE
    allow_switch_off boolean NOT NULL DEFAULT false
);

-- The oldest protocol whose processors may run. One row.
CREATE TABLE IF NOT EXISTS flag_schedule_protocol (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    minimum smallint NOT NULL DEFAULT 0,
    raised_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO flag_schedule_protocol DEFAULT VALUES ON CONFLICT DO NOTHING;

ALTER TABLE flag_schedule_runs
    ADD COLUMN IF NOT EXISTS protocol smallint NOT NULL DEFAULT 0;
