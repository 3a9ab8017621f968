-- Expands: what FlagSchedule keeps in addition to the schedules.
SET LOCAL lock_timeout = '10s';

-- One record for every Kubernetes object ever mirrored; it outlives the object and its row.
CREATE TABLE IF NOT EXISTS flag_schedule_objects (
    uid uuid PRIMARY KEY,
    schedule_id uuid UNIQUE,
    cluster text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    generation bigint NOT NULL,
    flag_key text,
    environment text,
    scheduled_at timestamptz,
    arming_hash text,            -- of the spec that the row holds; its change arms a failed schedule again
    change_hash text,            -- of flag, environment, time and updates; finds the same change created again
    retry_request text,          -- the value of the retry annotation that was acted on last
    created_at timestamptz NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    state text,                  -- the outcome where there is no row
    reason text,
    applied_at timestamptz
);
CREATE INDEX IF NOT EXISTS idx_flag_schedule_objects_name ON flag_schedule_objects (cluster, namespace, name);
CREATE INDEX IF NOT EXISTS idx_flag_schedule_objects_waiting ON flag_schedule_objects (flag_key, environment)
    WHERE state = 'waiting' AND deleted_at IS NULL;

-- Per flag and property: time and id of the schedule that set it last. The latest (time, id) wins.
CREATE TABLE IF NOT EXISTS flag_schedule_watermarks (
    flag_id uuid PRIMARY KEY REFERENCES feature_flags (id) ON DELETE CASCADE,
    enabled_at timestamptz,
    enabled_by uuid,
    rollout_percentage_at timestamptz,
    rollout_percentage_by uuid
);

CREATE TABLE IF NOT EXISTS flag_schedule_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    processed integer,
    failed integer,
    retried integer,
    superseded integer,
    set_aside integer
);

-- Append-only history of attempts; no foreign key, because it survives the schedule.
CREATE TABLE IF NOT EXISTS flag_schedule_attempts (
    schedule_id uuid NOT NULL,
    arming integer NOT NULL,
    attempt integer NOT NULL,    -- 1 for the first, then one more for every retry
    run_id bigint NOT NULL,
    attempted_at timestamptz NOT NULL DEFAULT now(),
    before_updated_at timestamptz,
    before_rollout_percentage integer,
    after_rollout_percentage integer,
    before_enabled boolean,
    after_enabled boolean,
    set_enabled boolean,
    set_rollout_percentage boolean,
    outcome text NOT NULL,
    reason text,
    error text,
    PRIMARY KEY (schedule_id, arming, attempt)
);

-- The outbox: what must follow a commit. Entries are never shared and are deleted by id.
CREATE TABLE IF NOT EXISTS flag_schedule_cache_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    environment text NOT NULL
);
CREATE TABLE IF NOT EXISTS flag_schedule_status_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Which cluster holds a cluster name, so that two cannot share one by accident.
CREATE TABLE IF NOT EXISTS flag_schedule_clusters (
    name text PRIMARY KEY,
    kube_system_uid text NOT NULL,
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);

-- A row may go with its flag (cascade) or by retention; its object's outcome must not go with it.
-- Runs with the rights of the tables' owner, because a user who deletes a flag has none on our tables.
CREATE OR REPLACE FUNCTION flag_schedule_keep_outcome() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE flag_schedule_objects
    SET applied_at = OLD.applied_at,
        (state, reason) = (
            SELECT CASE WHEN unfinished THEN 'failed' ELSE OLD.status END,
                   CASE WHEN unfinished THEN 'FlagDeleted' ELSE OLD.reason END
            FROM (VALUES (OLD.status = 'pending' OR (OLD.status = 'failed' AND OLD.next_retry_at IS NOT NULL)))
                AS t (unfinished)
        )
    WHERE schedule_id = OLD.id;
    IF FOUND THEN
        INSERT INTO flag_schedule_status_outbox (schedule_id) VALUES (OLD.id);
    END IF;
    RETURN OLD;
END
$$;

DO $$
BEGIN
    -- The function finds our tables in the schema that holds them, regardless of its caller's search_path.
    EXECUTE format('ALTER FUNCTION flag_schedule_keep_outcome() SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;

CREATE OR REPLACE TRIGGER flag_schedule_keep_outcome
    BEFORE DELETE ON feature_flag_schedules
    FOR EACH ROW EXECUTE FUNCTION flag_schedule_keep_outcome();
