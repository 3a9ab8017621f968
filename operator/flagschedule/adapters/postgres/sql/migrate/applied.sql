-- The names of the migrations that were applied.
SELECT migration_id FROM flag_schedule_migrations
