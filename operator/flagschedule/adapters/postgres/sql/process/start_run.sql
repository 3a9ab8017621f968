-- Records a new run. Returns its id, whether row-level security may hide schedules from it, and whether the host has
-- triggers that may change a flag after an UPDATE; no row if the database needs a newer processor.
INSERT INTO flag_schedule_runs (protocol)
SELECT %(protocol)s WHERE NOT EXISTS (SELECT FROM flag_schedule_protocol AS p WHERE p.minimum > %(protocol)s)
RETURNING id,
          pg_catalog.row_security_active('feature_flag_schedules'::regclass),
          EXISTS (
              SELECT FROM pg_catalog.pg_trigger AS t
              WHERE t.tgrelid = 'feature_flags'::regclass AND NOT t.tgisinternal AND t.tgenabled <> 'D'
                -- Neither BEFORE (2) nor INSTEAD OF (64), and for UPDATE (16): AFTER UPDATE.
                AND t.tgtype & 66 = 0 AND t.tgtype & 16 <> 0
          )
