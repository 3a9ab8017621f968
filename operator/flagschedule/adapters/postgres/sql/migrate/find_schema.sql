-- Where the migrations belong: the schemas in which the role finds the host's tables, and the one where it would
-- create new ones. Every name is qualified: the search_path is not ours yet.
-- No tables belong in pg_catalog, which some search_paths name first so that nothing comes before it.
-- A pooler's session may hold another client's temporary tables of these names: they are none of the host's.
SELECT (SELECT pg_catalog.quote_ident(n.nspname::pg_catalog.text)
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('feature_flags')::pg_catalog.oid
          AND c.relpersistence OPERATOR(pg_catalog.<>) 't'),
       (SELECT pg_catalog.quote_ident(n.nspname::pg_catalog.text)
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('feature_flag_schedules')::pg_catalog.oid
          AND c.relpersistence OPERATOR(pg_catalog.<>) 't'),
       (SELECT pg_catalog.quote_ident(path.name::pg_catalog.text)
        FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) AS path (name)
        WHERE NOT pg_catalog.starts_with(path.name::pg_catalog.text, 'pg_')
        LIMIT 1)
