-- The statements that an administrator must run first, because this role may not; none if nothing is missing.
-- Run before the first migration, so that nothing is left half done.
WITH programs (role) AS (
    SELECT r.rolname FROM pg_roles AS r
    WHERE r.rolname IN (
        'flagschedule_operator', 'flagschedule_processor', 'flagschedule_cleaner', 'flagschedule_auditor'
    )
),
flags AS (
    SELECT c.oid, pg_has_role(c.relowner, 'USAGE') AS ours FROM pg_class AS c
    WHERE c.oid = to_regclass('feature_flags') AND c.relpersistence <> 't'
)
SELECT format('GRANT CREATE, USAGE ON SCHEMA %I TO %I', current_schema(), current_user)
WHERE NOT has_schema_privilege(current_schema(), 'CREATE')
UNION ALL
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), p.role)
FROM programs AS p
WHERE NOT has_schema_privilege(p.role, current_schema(), 'USAGE')
  AND NOT has_schema_privilege(current_schema(), 'USAGE WITH GRANT OPTION')
UNION ALL
SELECT DISTINCT format('GRANT %I TO %I', pg_get_userbyid(c.relowner), current_user)
FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
  AND (c.relname = 'feature_flag_schedules' OR c.relname ~ '^flag_(schedule|plan)')
  AND NOT pg_has_role(c.relowner, 'USAGE')
UNION ALL
SELECT format('GRANT REFERENCES ON feature_flags TO %I', current_user)
FROM flags AS f
WHERE NOT has_table_privilege(f.oid, 'REFERENCES')
UNION ALL
SELECT format('GRANT SELECT ON feature_flags TO %I', p.role)
FROM flags AS f, programs AS p
WHERE NOT f.ours AND p.role <> 'flagschedule_cleaner' AND NOT has_table_privilege(p.role, f.oid, 'SELECT')
UNION ALL
SELECT format('GRANT UPDATE (%s) ON feature_flags TO %I', string_agg(quote_ident(c.name), ', '), p.role)
FROM flags AS f, programs AS p, unnest(ARRAY['enabled', 'rollout_percentage', 'updated_at']) AS c (name)
WHERE NOT f.ours AND p.role = 'flagschedule_processor' AND NOT has_column_privilege(p.role, f.oid, c.name, 'UPDATE')
GROUP BY p.role
