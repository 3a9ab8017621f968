-- Part of session.sql, for the processor.
-- To plan the statement that applies takes a tenth of the time of a batch, and all batches can use the same plan.
, pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', s.is_local)
-- Most flags of a batch are looked up once: a cache of them takes longer than to look up a few of them twice.
, pg_catalog.set_config('enable_memoize', 'off', s.is_local)
-- A batch needs the first rows of an index. Before a table's first ANALYZE the planner expects few rows to be due, and
-- with bitmap scans it would read and sort all of them.
, pg_catalog.set_config('enable_bitmapscan', 'off', s.is_local)
-- A batch takes milliseconds: one that takes a second has a slow row, for which all others would wait.
, pg_catalog.set_config('statement_timeout', '1s', s.is_local)
