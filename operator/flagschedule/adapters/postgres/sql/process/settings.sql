-- Part of session.sql, for the processor.
-- To plan the statement that applies takes as long as a tenth of a batch, and no batch wants another plan.
, pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', s.is_local)
-- Each flag of a batch is looked up once as a rule: to remember those found takes longer than to look twice.
, pg_catalog.set_config('enable_memoize', 'off', s.is_local)
-- A batch needs the first rows of an index. Before a table's first ANALYZE the planner expects few rows to be due, and
-- without this would read and sort all of them.
, pg_catalog.set_config('enable_bitmapscan', 'off', s.is_local)
-- A batch takes milliseconds: one that takes a second holds a slow row, and all others wait for it.
, pg_catalog.set_config('statement_timeout', '1s', s.is_local)
