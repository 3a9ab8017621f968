-- Expands: purging a finished row changes no outcome, so its object needs no notice: a million purged rows must
-- not make a million requests to the API server. Nor must objects that are gone. The function's owner alone may call it.
SET LOCAL lock_timeout = '10s';

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
