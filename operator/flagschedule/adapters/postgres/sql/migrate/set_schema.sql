-- Names mean what is in one schema, until the end of the transaction.
SELECT pg_catalog.set_config('search_path', pg_catalog.concat(%(schema)s::text, ', pg_temp'), true)
