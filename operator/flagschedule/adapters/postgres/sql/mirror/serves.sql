-- Whether the server takes no changes; tables and rights must be there, too.
SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool AS is_read_only,
       EXISTS (SELECT FROM flag_schedule_objects LIMIT 0) AS has_tables
