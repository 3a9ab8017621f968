-- Outcomes that wait to be written to a live object of this operator: of each namespace the oldest first, and the
-- namespaces in turns, so that thousands of one do not hide another's.
SELECT id, uid, namespace, name
FROM (
    SELECT e.id, o.uid, o.namespace, o.name, row_number() OVER (PARTITION BY o.namespace ORDER BY e.id) AS turn
    FROM flag_schedule_status_outbox AS e
    JOIN flag_schedule_objects AS o ON o.schedule_id = e.schedule_id
    WHERE o.cluster = %(cluster)s AND o.deleted_at IS NULL
      AND (%(namespaces)s::text[] = '{}' OR o.namespace = ANY (%(namespaces)s))
      AND NOT EXISTS (SELECT FROM unnest(%(known)s::bigint[]) AS known (id) WHERE known.id = e.id)
) AS waiting
ORDER BY turn, id
LIMIT %(limit)s
