-- The settings that our statements and psycopg depend on. They replace what a role, a database or another client of a
-- pooler has set. `is_local` limits them to one transaction.
-- One statement of ours takes milliseconds; a connection that hangs must not hold locks for long.
-- Statements see what was committed before them, and names mean the tables of the schema that the migrations chose,
-- not of one that comes earlier in the role's search_path. Until then every name is qualified: a function of that
-- earlier schema may fit better than Postgres' own.
-- NULL means the value from before any SET: pg_dump and others leave their own role and search_path in a pooler's
-- session, and temporary tables, which come before all others unless the path names them last.
SELECT s.is_local,
       pg_catalog.pg_is_in_recovery() AS is_standby,
       f.is_fenced,
       pg_catalog.set_config('role', NULL, s.is_local),
       pg_catalog.set_config('row_security', NULL, s.is_local),
       pg_catalog.set_config('lock_timeout', '5s', s.is_local),
       pg_catalog.set_config('statement_timeout', '30s', s.is_local),
       pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', s.is_local),
       pg_catalog.set_config('idle_session_timeout', '0', s.is_local),
       CASE WHEN pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL  -- Postgres 17
           THEN pg_catalog.set_config('transaction_timeout', '0', s.is_local) END,
       pg_catalog.set_config('default_transaction_isolation', 'read committed', s.is_local),
       CASE WHEN f.is_read_only AND NOT f.is_fenced
           THEN pg_catalog.set_config('default_transaction_read_only', 'off', s.is_local) END,
       pg_catalog.set_config('default_transaction_deferrable', 'off', s.is_local),
       pg_catalog.set_config('datestyle', 'ISO, MDY', s.is_local),
       pg_catalog.set_config('intervalstyle', 'postgres', s.is_local),
       pg_catalog.set_config('timezone', 'UTC', s.is_local),
       pg_catalog.set_config('bytea_output', 'hex', s.is_local),
       pg_catalog.set_config('extra_float_digits', '1', s.is_local),
       pg_catalog.set_config('standard_conforming_strings', 'on', s.is_local),
       pg_catalog.set_config('array_nulls', 'on', s.is_local),
       pg_catalog.set_config('transform_null_equals', 'off', s.is_local),
       pg_catalog.set_config('exit_on_error', 'off', s.is_local),
       pg_catalog.set_config('search_path', NULL, s.is_local),
       pg_catalog.set_config('search_path', pg_catalog.concat(
           CASE WHEN pg_catalog.length(pg_catalog.current_setting('search_path')) OPERATOR(pg_catalog.>) 0
               THEN pg_catalog.concat(pg_catalog.current_setting('search_path'), ', ') END, 'pg_temp'), s.is_local),
       pg_catalog.set_config('search_path', coalesce(
           (SELECT pg_catalog.concat(pg_catalog.quote_ident(n.nspname::pg_catalog.text), ', pg_temp')
            FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
            WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('flag_schedule_runs')::pg_catalog.oid
              AND c.relpersistence OPERATOR(pg_catalog.<>) 't'),
           pg_catalog.current_setting('search_path')), s.is_local)
       /* more */
FROM (SELECT /* is_local */ true) AS s (is_local)
-- Read-only by the server's own configuration, as a managed one with a full disk is: unlike a default of a role or a
-- database that is no accident. A session that has not set it follows the configuration from then on.
CROSS JOIN (
    SELECT d.is_read_only, CASE WHEN d.is_read_only THEN EXISTS (
        SELECT FROM pg_catalog.pg_settings AS c
        WHERE c.name OPERATOR(pg_catalog.=) 'default_transaction_read_only'
          AND c.source OPERATOR(pg_catalog.=) ANY (ARRAY['configuration file', 'command line'])
    ) ELSE false END
    FROM (SELECT pg_catalog.current_setting('default_transaction_read_only')::pg_catalog.bool) AS d (is_read_only)
) AS f (is_read_only, is_fenced)
