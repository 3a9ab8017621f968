-- Whether there is a table of flags, and the role may read it.
SELECT coalesce(bool_or(has_table_privilege(oid, 'SELECT')), false)
FROM pg_class
WHERE oid = to_regclass('feature_flags') AND relpersistence <> 't'
