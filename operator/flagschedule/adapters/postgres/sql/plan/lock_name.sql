-- One transaction at a time for all plans of one name, also before they have a record. See mirror/lock_object.
SELECT pg_catalog.set_config('lock_timeout', '100ms', true),
       pg_catalog.set_config('statement_timeout', '5s', true),
       pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('FlagPlan ' || %(namespace)s || '/' || %(name)s, 0))
