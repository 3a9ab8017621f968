-- Part of session.sql, for the migration: a build of an index takes as long as it takes, and the transaction that holds
-- the lock is idle meanwhile.
, pg_catalog.set_config('statement_timeout', '0', s.is_local)
, pg_catalog.set_config('lock_timeout', '0', s.is_local)
, pg_catalog.set_config('idle_in_transaction_session_timeout', '0', s.is_local)
