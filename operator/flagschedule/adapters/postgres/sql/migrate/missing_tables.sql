-- Tables of ours, and of the host, that the log of migrations says are there and that are not.
SELECT format('%s is missing, though its migration was applied; restore it, or let the role find it, with '
              '?options=-csearch_path%%3Dschema in DATABASE_URL', w.name)
FROM unnest(ARRAY[
    'feature_flags', 'feature_flag_schedules', 'flag_schedule_objects', 'flag_schedule_watermarks',
    'flag_schedule_attempts', 'flag_schedule_cache_outbox', 'flag_schedule_status_outbox', 'flag_schedule_clusters', 'flag_schedule_runs',
    'flag_schedule_freezes', 'flag_schedule_protocol', 'flag_plan_lineages', 'flag_plans', 'flag_plan_rows',
    'flag_schedule_changes', 'flag_schedule_notices'
]) AS w (name)
WHERE to_regclass(w.name) IS NULL
