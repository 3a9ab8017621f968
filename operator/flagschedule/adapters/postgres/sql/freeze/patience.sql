-- For statements that read the table of flags: who waits for its lock has no use for the answer.
SELECT pg_catalog.set_config('lock_timeout', '500ms', true)
