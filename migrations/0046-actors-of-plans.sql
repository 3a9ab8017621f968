-- Expands: who created and who changed a FlagPlan, as for FlagSchedules. Versions are in flag_schedule_changes.
SET LOCAL lock_timeout = '10s';

ALTER TABLE flag_plans
    ADD COLUMN IF NOT EXISTS created_by text,
    ADD COLUMN IF NOT EXISTS changed_by text,
    ADD COLUMN IF NOT EXISTS origin text;
