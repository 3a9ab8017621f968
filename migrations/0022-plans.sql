-- Expands: FlagPlans. Which of a plan's occurrences have which row, and what became of it, so that each is made once.
SET LOCAL lock_timeout = '10s';

-- Every plan of one cluster, namespace and name, one after the other. It outlives objects, rows and renames.
CREATE TABLE IF NOT EXISTS flag_plan_lineages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    UNIQUE (cluster, namespace, name)
);

-- One record for every FlagPlan ever mirrored.
CREATE TABLE IF NOT EXISTS flag_plans (
    uid uuid PRIMARY KEY,
    lineage bigint NOT NULL REFERENCES flag_plan_lineages (id),
    cluster text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    generation bigint NOT NULL,
    plan_hash text,              -- of the spec that was planned last; null while it cannot be parsed
    created_at timestamptz NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    planned_from timestamptz NOT NULL,   -- steps with cron start after it: the first sight of the object, or of its last edit
    planned_until timestamptz,   -- every start up to then has its rows
    tzdata text,                 -- the version of the time zone data that they were planned with
    retry_request text,          -- the value of the annotation that was acted on last
    approval text,               -- the value of the annotation that was seen last
    cancelled boolean NOT NULL DEFAULT false,
    missing jsonb NOT NULL DEFAULT '[]',  -- flags that it waits for, [key, environment] each
    deleted_at timestamptz
);
CREATE INDEX IF NOT EXISTS idx_flag_plans_lineage ON flag_plans (lineage);
CREATE INDEX IF NOT EXISTS idx_flag_plans_live ON flag_plans (cluster, uid) WHERE deleted_at IS NULL;

-- What identifies a change of a plan, and its row. The primary key is why nothing is made twice.
CREATE TABLE IF NOT EXISTS flag_plan_rows (
    lineage bigint NOT NULL REFERENCES flag_plan_lineages (id),
    occurrence text NOT NULL,    -- with cron the local time of the start; else the time of the chain's first step
    step text NOT NULL,
    part text NOT NULL CHECK (part IN ('start', 'end')),
    flag_key text NOT NULL,
    environment text NOT NULL,
    plan uuid NOT NULL,          -- the object that planned it last
    schedule_id uuid UNIQUE,     -- null while its flag does not exist
    is_chain boolean NOT NULL,   -- a step with at or after
    is_moved boolean NOT NULL DEFAULT false,  -- its time is that of an approval or of a request to retry
    due_at timestamptz NOT NULL,
    updates jsonb NOT NULL,
    state text,                  -- the outcome; null while there is none
    reason text,
    applied_at timestamptz,
    error text,
    PRIMARY KEY (lineage, occurrence, step, part, flag_key, environment)
);
CREATE INDEX IF NOT EXISTS idx_flag_plan_rows_due ON flag_plan_rows (lineage, due_at);
CREATE INDEX IF NOT EXISTS idx_flag_plan_rows_open ON flag_plan_rows (lineage) WHERE state IS NULL OR state = 'waiting';
CREATE INDEX IF NOT EXISTS idx_flag_plan_rows_chain ON flag_plan_rows (plan) WHERE is_chain;

-- A row may go with its flag (cascade) or by retention; the outcome of its object or plan must not go with it.
-- Purging a finished row changes no outcome, so it needs no notice.
CREATE OR REPLACE FUNCTION flag_schedule_keep_outcome() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    unfinished CONSTANT boolean :=
        OLD.status = 'pending' OR (OLD.status = 'failed' AND OLD.next_retry_at IS NOT NULL);
    lives boolean;
BEGIN
    UPDATE flag_schedule_objects
    SET applied_at = OLD.applied_at,
        state = CASE WHEN unfinished THEN 'failed' ELSE OLD.status END,
        reason = CASE WHEN unfinished THEN 'FlagDeleted' ELSE OLD.reason END
    WHERE schedule_id = OLD.id
    RETURNING deleted_at IS NULL INTO lives;
    IF NOT FOUND THEN
        UPDATE flag_plan_rows AS r
        SET applied_at = OLD.applied_at,
            state = CASE WHEN unfinished THEN 'failed' ELSE OLD.status END,
            reason = CASE WHEN unfinished THEN 'FlagDeleted' ELSE OLD.reason END
        FROM flag_plans AS p
        WHERE r.schedule_id = OLD.id AND p.uid = r.plan
        RETURNING p.deleted_at IS NULL INTO lives;
    END IF;
    IF lives AND unfinished THEN
        INSERT INTO flag_schedule_status_outbox (schedule_id) VALUES (OLD.id);
    END IF;
    RETURN OLD;
END
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION flag_schedule_keep_outcome() SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;

REVOKE EXECUTE ON FUNCTION flag_schedule_keep_outcome() FROM PUBLIC;
