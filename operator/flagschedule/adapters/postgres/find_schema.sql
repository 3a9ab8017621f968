-- Where the migrations belong: the schemas in which the role finds the host's tables, and the one where it would
-- create new ones.
SELECT (SELECT quote_ident(n.nspname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass('feature_flags')),
       (SELECT quote_ident(n.nspname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass('feature_flag_schedules')),
       quote_ident(current_schema())
