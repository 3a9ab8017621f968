-- The record of an object, or nulls; its lineage, or that of its name; and whether a newer object took its name.
SELECT p.uid, p.created_at, p.generation, p.plan_hash, p.planned_from, p.planned_until, p.tzdata, p.retry_request,
       p.approval, p.created_by, p.changed_by, p.origin, p.cancelled, p.deleted_at IS NOT NULL AS deleted, p.missing, l.id AS lineage, now() AS now,
       EXISTS (
           SELECT FROM flag_plans AS other
           WHERE other.lineage = l.id AND other.uid <> %(uid)s AND other.deleted_at IS NULL
             AND (p.deleted_at IS NOT NULL OR p.uid IS NULL AND other.created_at > %(created_at)s)
       ) AS replaced
FROM (SELECT) AS always
LEFT JOIN flag_plans AS p ON p.uid = %(uid)s
LEFT JOIN flag_plan_lineages AS l
    ON l.id = coalesce(p.lineage, (
        SELECT own.id FROM flag_plan_lineages AS own
        WHERE own.cluster = %(cluster)s AND own.namespace = %(namespace)s AND own.name = %(name)s
    ))
