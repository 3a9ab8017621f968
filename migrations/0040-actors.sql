-- Expands: who created and who changed an object, and every version of it that was acted on. Null, and empty, where the
-- operator does not record actors. Names of people: kept as long as the record, and deleted with it.
SET LOCAL lock_timeout = '10s';

ALTER TABLE flag_schedule_objects
    ADD COLUMN IF NOT EXISTS created_by text,
    ADD COLUMN IF NOT EXISTS changed_by text,   -- by the annotation, when the operator acted on the object last
    ADD COLUMN IF NOT EXISTS origin text;       -- what the author wrote, for example a commit

-- Append-only; no foreign key, so that history takes no lock on a record.
CREATE TABLE IF NOT EXISTS flag_schedule_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid uuid NOT NULL,
    generation bigint NOT NULL,  -- the same again where a retry was requested
    seen_at timestamptz NOT NULL DEFAULT now(),
    actor text,
    origin text,
    spec jsonb                   -- null where it could not be parsed
);
CREATE INDEX IF NOT EXISTS idx_flag_schedule_changes_uid ON flag_schedule_changes (uid);
