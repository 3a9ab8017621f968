-- Expands: how many attempts a run made, by "number outcome condition", as in {"1 failed check_violation": 2}.
SET LOCAL lock_timeout = '10s';

ALTER TABLE flag_schedule_runs ADD COLUMN IF NOT EXISTS attempts jsonb;
