-- One transaction at a time for each object, also before it has a record or a row.
SELECT pg_advisory_xact_lock(hashtextextended(%(uid)s::uuid::text, 0))
