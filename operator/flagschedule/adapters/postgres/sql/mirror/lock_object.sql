-- One transaction at a time for each object, also before it has a record or a row. None of the transaction's
-- statements waits for long: the caller tries again, and lets others have its turn until then.
SELECT pg_catalog.set_config('lock_timeout', '100ms', true),
       pg_catalog.set_config('statement_timeout', '3s', true),
       pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%(uid)s::uuid::text, 0))
