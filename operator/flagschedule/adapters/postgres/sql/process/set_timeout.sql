-- How long each statement of this transaction may take.
SELECT pg_catalog.set_config('statement_timeout', %(milliseconds)s, true)
