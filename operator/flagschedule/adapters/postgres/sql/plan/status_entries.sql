-- Outcomes that wait to be shown by a live plan of this operator: of each namespace the oldest first, in turns.
SELECT id, uid, namespace, name
FROM (
    SELECT e.id, p.uid, p.namespace, p.name, row_number() OVER (PARTITION BY p.namespace ORDER BY e.id) AS turn
    FROM flag_schedule_status_outbox AS e
    JOIN flag_plan_rows AS r ON r.schedule_id = e.schedule_id
    JOIN flag_plans AS p ON p.uid = r.plan
    WHERE p.cluster = %(cluster)s AND p.deleted_at IS NULL
      AND (%(namespaces)s::text[] = '{}' OR p.namespace = ANY (%(namespaces)s))
      AND NOT EXISTS (SELECT FROM unnest(%(known)s::bigint[]) AS known (id) WHERE known.id = e.id)
) AS waiting
ORDER BY turn, id
LIMIT %(limit)s
