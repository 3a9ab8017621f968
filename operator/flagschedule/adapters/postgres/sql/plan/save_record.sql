-- The record of an object as planning wants it.
INSERT INTO flag_plans
    (uid, lineage, cluster, namespace, name, generation, plan_hash, created_at, planned_from, planned_until, tzdata,
     retry_request, approval, cancelled, missing, created_by, changed_by, origin, deleted_at)
VALUES (%(uid)s, %(lineage)s, %(cluster)s, %(namespace)s, %(name)s, %(generation)s, %(plan_hash)s, %(created_at)s,
        %(planned_from)s, %(planned_until)s, %(tzdata)s, %(retry_request)s, %(approval)s, %(cancelled)s, %(missing)s,
        %(created_by)s, %(changed_by)s, %(origin)s,
        CASE WHEN %(deleted)s THEN now() END)
ON CONFLICT (uid) DO UPDATE SET
    generation = excluded.generation, plan_hash = excluded.plan_hash, planned_from = excluded.planned_from,
    planned_until = excluded.planned_until, tzdata = excluded.tzdata, retry_request = excluded.retry_request,
    approval = excluded.approval, cancelled = excluded.cancelled, missing = excluded.missing,
    created_by = excluded.created_by, changed_by = excluded.changed_by, origin = excluded.origin,
    deleted_at = CASE WHEN %(deleted)s THEN coalesce(flag_plans.deleted_at, now()) END
