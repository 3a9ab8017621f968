-- The lock of all migrations of a database, until the end of the transaction; the number is our own.
SELECT pg_catalog.pg_try_advisory_xact_lock(1718378855)
