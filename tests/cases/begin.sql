-- Good rows and one that the cases make odd. The ids are those of scene.py; the comments are replaced by values.
SET session_replication_role = replica;
DROP TRIGGER IF EXISTS refuse ON feature_flags; DROP TRIGGER IF EXISTS refuse ON feature_flag_schedules;
DELETE FROM feature_flag_schedules; DELETE FROM flag_schedule_objects; DELETE FROM flag_schedule_watermarks;
DELETE FROM flag_schedule_runs; DELETE FROM flag_schedule_attempts; DELETE FROM flag_schedule_cache_outbox;
DELETE FROM flag_schedule_status_outbox; DELETE FROM flag_schedule_clusters; DELETE FROM flag_schedule_freezes;
DELETE FROM flag_schedule_changes; DELETE FROM flag_schedule_notices; DELETE FROM flag_plan_rows; DELETE FROM flag_plans; DELETE FROM flag_plan_lineages;
DELETE FROM feature_flags;
INSERT INTO feature_flags (id, flag_key) VALUES
    ('00000000-0000-4000-8000-000000000001', 'odd'), ('00000000-0000-4000-8000-000000000002', 'good'), ('00000000-0000-4000-8000-000000000003', 'again'), ('00000000-0000-4000-8000-000000000004', 'old'), ('00000000-0000-4000-8000-000000000005', 'waiting');
INSERT INTO feature_flag_schedules
    (id, flag_id, scheduled_at, updates, status, retry_count, next_retry_at, applied_at, updated_at) VALUES
    ('00000000-0000-7000-8000-000000000001', '00000000-0000-4000-8000-000000000001', now() - interval '1 hour', '{"enabled": true}', /*state*/, /*updated*/),
    ('00000000-0000-7000-8000-0000000000a1', '00000000-0000-4000-8000-000000000002', now() - interval '1 minute', '{"enabled": true}', 'pending', 0, NULL, NULL, now()),
    ('00000000-0000-7000-8000-0000000000a2', '00000000-0000-4000-8000-000000000003', now() - interval '9 minutes', '{"enabled": true}', 'failed', 1,
     now() - interval '1 minute', NULL, now()),
    ('00000000-0000-7000-8000-0000000000a3', '00000000-0000-4000-8000-000000000004', now() - interval '200 days', '{"enabled": true}', 'applied', 0, NULL, now() - interval '200 days', now() - interval '200 days'),
    ('00000000-0000-7000-8000-0000000000a4', '00000000-0000-4000-8000-000000000005', now() + interval '1 hour', '{"enabled": true}', 'pending', 0, NULL, NULL, now());
INSERT INTO flag_schedule_objects
    (uid, schedule_id, cluster, namespace, name, generation, flag_key, environment, scheduled_at, created_at, state)
VALUES
    ('00000000-0000-4000-8000-000000000002', /*odd_row*/, 'default', 'shop', 'odd', 1, 'odd', 'production', now() - interval '1 hour',
     now() - interval '2 hours', /*odd_state*/),
    ('00000000-0000-4000-8000-0000000000b1', '00000000-0000-7000-8000-0000000000a1', 'default', 'shop', 'good', 1, 'good', 'production', now() - interval '1 minute',
     now() - interval '2 hours', NULL),
    ('00000000-0000-4000-8000-0000000000b2', NULL, 'default', 'shop', 'waiting', 1, 'waiting', 'production', now() + interval '1 hour',
     now() - interval '2 hours', 'waiting');
INSERT INTO flag_schedule_watermarks (flag_id, enabled_at, enabled_by)
    VALUES ('00000000-0000-4000-8000-000000000001', now() - interval '3 hours', '00000000-0000-7000-8000-0000000000a3');
INSERT INTO flag_schedule_runs (id, finished_at, processed) VALUES (-7, now(), 1);
INSERT INTO flag_schedule_attempts (schedule_id, arming, attempt, run_id, outcome, reason)
    VALUES ('00000000-0000-7000-8000-000000000001', 0, 1, 1, 'failed', 'AttemptFailed');
INSERT INTO flag_schedule_cache_outbox (id, environment) VALUES (-7, 'production');
INSERT INTO flag_schedule_status_outbox (id, schedule_id) VALUES
    (-7, '00000000-0000-7000-8000-000000000001'), (-8, '00000000-0000-7000-8000-0000000000a1'), (-9, '00000000-0000-7000-8000-0000000000a4');
INSERT INTO flag_schedule_clusters (name, kube_system_uid) VALUES ('elsewhere', 'another');
-- Over, and of other flags: no single value makes it hold a good row.
INSERT INTO flag_schedule_freezes
    (id, cluster, uid, name, reason, starts_at, ends_at, environments, namespaces, flag_keys)
    VALUES (-7, 'elsewhere', '00000000-0000-4000-8000-0000000000c1', 'over', 'over', now() - interval '2 hours', now() - interval '1 hour',
            '{elsewhere}', '{elsewhere}', '{elsewhere}');
INSERT INTO flag_schedule_notices (id, cluster, namespace, event, subject, happened_at, data)
    VALUES ('00000000-0000-7000-8000-000000000001', 'default', 'shop', 'applied', 'production/odd', now(), '{}');
INSERT INTO flag_schedule_changes (id, uid, generation, actor, origin, spec)
    VALUES (-7, '00000000-0000-4000-8000-000000000002', 1, 'ada', 'a commit', '{}');
-- The odd row is also an odd plan's.
INSERT INTO flag_plan_lineages (id, cluster, namespace, name)
    VALUES (-7, 'default', 'shop', 'odd'), (-8, 'default', 'shop', 'good');
INSERT INTO flag_plans (uid, lineage, cluster, namespace, name, generation, created_at, planned_from, missing)
VALUES
    ('00000000-0000-4000-8000-0000000000d1', -7, 'default', 'shop', 'odd', 1, now() - interval '2 hours', now() - interval '2 hours', '[]'),
    ('00000000-0000-4000-8000-0000000000d2', -8, 'default', 'shop', 'good', 1, now() - interval '2 hours', now() - interval '2 hours',
     '[["again", "production"]]');
INSERT INTO flag_plan_rows
    (lineage, occurrence, step, part, flag_key, environment, plan, schedule_id, is_chain, due_at, updates)
VALUES
    (-7, 'then', 'on', 'start', 'odd', 'production', '00000000-0000-4000-8000-0000000000d1', '00000000-0000-7000-8000-000000000001', true,
     now() - interval '1 hour', '{"enabled": true}'),
    (-8, 'then', 'on', 'start', 'waiting', 'production', '00000000-0000-4000-8000-0000000000d2', '00000000-0000-7000-8000-0000000000a4', true,
     now() + interval '1 hour', '{"enabled": true}');
SET session_replication_role = origin;
