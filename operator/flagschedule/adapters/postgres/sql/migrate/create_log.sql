-- The log of migrations, in the shape of yoyo-migrations.
CREATE TABLE IF NOT EXISTS flag_schedule_migrations (
    migration_hash varchar(64) PRIMARY KEY,
    migration_id varchar(255),
    applied_at_utc timestamp
)
