-- What keeps tables of these names, which were there before the migrations, from being used: a sentence for each fault.
-- Run before the first migration, so that nothing is left half done.
WITH wanted (relation, name, categories, type) AS (
    VALUES ('feature_flags', 'id', '{U}'::"char"[], 'uuid'),
           ('feature_flags', 'flag_key', '{S}', 'text'),
           ('feature_flags', 'environment', '{S}', 'text'),
           ('feature_flags', 'enabled', '{B}', 'boolean'),
           ('feature_flags', 'rollout_percentage', '{N}', 'integer'),
           ('feature_flags', 'updated_at', '{D}', 'timestamp with time zone'),
           ('feature_flag_schedules', 'id', '{U}', 'uuid'),
           ('feature_flag_schedules', 'flag_id', '{U}', 'uuid'),
           ('feature_flag_schedules', 'scheduled_at', '{D}', 'timestamp with time zone'),
           ('feature_flag_schedules', 'status', '{S}', 'text'),
           ('feature_flag_schedules', 'updates', '{U}', 'jsonb')
),
relations AS (
    SELECT c.oid, c.relname::text AS name, c.relkind, c.oid::regclass AS shown
    FROM pg_class AS c
    WHERE c.oid IN (to_regclass('feature_flags'), to_regclass('feature_flag_schedules')) AND c.relpersistence <> 't'
),
unfit AS (
    SELECT r.name, format(
        '%s is a %s, and must be a table; let the role find the table itself, with ?options=-csearch_path%%3Dschema in DATABASE_URL',
        r.shown, CASE r.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                 ELSE 'relation of another kind' END) AS fault
    FROM relations AS r
    WHERE r.relkind NOT IN ('r', 'p')
)
SELECT u.fault FROM unfit AS u
UNION ALL
SELECT CASE WHEN a.attname IS NULL THEN format('%s lacks the column %s (%s); add it', r.shown, w.name, w.type)
       ELSE format('%s.%s is %s, and must be %s', r.shown, w.name, format_type(a.atttypid, a.atttypmod), w.type) END
FROM relations AS r
JOIN wanted AS w ON w.relation = r.name
LEFT JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attname = w.name AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type AS t ON t.oid = a.atttypid
WHERE r.name NOT IN (SELECT u.name FROM unfit AS u)
  AND (t.oid IS NULL OR t.typcategory <> ALL (w.categories)
       OR t.typcategory = 'U' AND t.typname <> w.type)
UNION ALL
SELECT format('%s has no primary key or unique index on id alone, which schedules need to refer to; add one', r.shown)
FROM relations AS r
WHERE r.name = 'feature_flags' AND r.name NOT IN (SELECT u.name FROM unfit AS u)
  AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = r.oid AND a.attname = 'id')
  AND NOT EXISTS (SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum = i.indkey[0]
                  WHERE i.indrelid = r.oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indnkeyatts = 1
                    AND i.indpred IS NULL AND a.attname = 'id')
