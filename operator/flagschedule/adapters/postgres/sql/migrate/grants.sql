-- Each program's role gets the rights that its statements need on our tables, and no others. Run at the end of every
-- migration, in one transaction, so that no program ever finds a right missing. A role that does not exist gets nothing:
-- where one user does everything, this does nothing.
--
-- feature_flags is the host's: there only what is missing is granted, and nothing is taken away.
-- UPDATE of an identity column can set no value of one's choice; it is what FOR UPDATE requires.
DO $$
DECLARE
    program name;
    ours regclass;
BEGIN
    FOR program IN
        SELECT r.rolname FROM pg_roles AS r
        WHERE r.rolname IN (
            'flagschedule_operator', 'flagschedule_processor', 'flagschedule_cleaner', 'flagschedule_auditor'
        )
    LOOP
        IF NOT has_schema_privilege(program, current_schema(), 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), program);
        END IF;
        FOR ours IN
            SELECT c.oid FROM pg_class AS c
            WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
              -- By name: a newer version's tables are not known here, and its programs keep their rights on them.
              AND c.relname IN ('feature_flag_schedules', 'flag_schedule_objects', 'flag_schedule_watermarks',
                  'flag_schedule_attempts', 'flag_schedule_cache_outbox', 'flag_schedule_status_outbox',
                  'flag_schedule_clusters', 'flag_schedule_runs', 'flag_schedule_migrations', 'flag_schedule_freezes',
                  'flag_schedule_protocol', 'flag_plan_lineages', 'flag_plans', 'flag_plan_rows',
                  'flag_schedule_changes', 'flag_schedule_notices')
              AND pg_has_role(c.relowner, 'USAGE')
        LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %I', ours, program);
            IF program = 'flagschedule_auditor' THEN  -- for people: they read what is ours, and change nothing
                EXECUTE format('GRANT SELECT ON %s TO %I', ours, program);
            END IF;
        END LOOP;
    END LOOP;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flagschedule_operator') THEN
        IF NOT has_table_privilege('flagschedule_operator', 'feature_flags', 'SELECT') THEN
            GRANT SELECT ON feature_flags TO flagschedule_operator;
        END IF;
        GRANT SELECT ON feature_flag_schedules, flag_schedule_objects, flag_schedule_clusters,
            flag_schedule_watermarks, flag_schedule_attempts, flag_schedule_runs, flag_schedule_cache_outbox,
            flag_schedule_status_outbox TO flagschedule_operator;
        GRANT INSERT ON feature_flag_schedules, flag_schedule_objects, flag_schedule_clusters TO flagschedule_operator;
        GRANT UPDATE (scheduled_at, status, updates, max_retries, suspended, not_after, arming, reason, applied_at,
            retry_count, next_retry_at, last_error, error_message, updated_at, set_aside_until, set_aside_count,
            requires, expect, on_mismatch, cluster, namespace, overrides, retry_initial_seconds, retry_max_seconds)
            ON feature_flag_schedules TO flagschedule_operator;
        GRANT SELECT, INSERT, DELETE ON flag_schedule_freezes TO flagschedule_operator;
        GRANT SELECT, UPDATE ON flag_schedule_protocol TO flagschedule_operator;
        GRANT UPDATE ON flag_schedule_objects, flag_schedule_clusters TO flagschedule_operator;
        GRANT DELETE ON flag_schedule_status_outbox TO flagschedule_operator;
        GRANT INSERT ON flag_schedule_changes TO flagschedule_operator;
        GRANT SELECT, INSERT, UPDATE (failures, next_try_at, ended_at) ON flag_schedule_notices TO flagschedule_operator;
        GRANT SELECT, INSERT, UPDATE ON flag_plan_lineages, flag_plans, flag_plan_rows TO flagschedule_operator;
    END IF;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flagschedule_processor') THEN
        IF NOT has_table_privilege('flagschedule_processor', 'feature_flags', 'SELECT') THEN
            GRANT SELECT ON feature_flags TO flagschedule_processor;
        END IF;
        IF NOT (has_column_privilege('flagschedule_processor', 'feature_flags', 'enabled', 'UPDATE')
                AND has_column_privilege('flagschedule_processor', 'feature_flags', 'rollout_percentage', 'UPDATE')
                AND has_column_privilege('flagschedule_processor', 'feature_flags', 'updated_at', 'UPDATE')) THEN
            GRANT UPDATE (enabled, rollout_percentage, updated_at) ON feature_flags TO flagschedule_processor;
        END IF;
        GRANT SELECT ON feature_flag_schedules, flag_schedule_objects, flag_schedule_freezes, flag_schedule_protocol,
            flag_plans, flag_plan_rows TO flagschedule_processor;
        GRANT UPDATE (status, reason, applied_at, retry_count, next_retry_at, last_error, error_message, updated_at,
            set_aside_until, set_aside_count)
            ON feature_flag_schedules TO flagschedule_processor;
        GRANT SELECT, INSERT, UPDATE ON flag_schedule_watermarks TO flagschedule_processor;
        GRANT INSERT ON flag_schedule_attempts TO flagschedule_processor;
        GRANT SELECT, INSERT, UPDATE (id), DELETE ON flag_schedule_cache_outbox, flag_schedule_status_outbox
            TO flagschedule_processor;
        GRANT SELECT, INSERT, UPDATE (finished_at, processed, failed, retried, superseded, set_aside, skipped,
            refused_cache_keys, attempts)
            ON flag_schedule_runs TO flagschedule_processor;
    END IF;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flagschedule_cleaner') THEN
        GRANT SELECT, DELETE ON feature_flag_schedules, flag_schedule_objects, flag_schedule_attempts,
            flag_schedule_changes, flag_schedule_notices, flag_schedule_runs, flag_plans, flag_plan_rows,
            flag_plan_lineages TO flagschedule_cleaner;
        -- To skip locked rows it must be able to lock, and Postgres requires UPDATE of some column for that.
        GRANT UPDATE (updated_at) ON feature_flag_schedules TO flagschedule_cleaner;
    END IF;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'flagschedule_auditor')
            AND NOT has_table_privilege('flagschedule_auditor', 'feature_flags', 'SELECT') THEN
        GRANT SELECT ON feature_flags TO flagschedule_auditor;
    END IF;
END
$$
