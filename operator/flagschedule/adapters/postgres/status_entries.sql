-- The oldest outcomes that wait to be written to a live object of this operator.
SELECT e.id, o.uid, o.namespace, o.name
FROM flag_schedule_status_outbox AS e
JOIN flag_schedule_objects AS o ON o.schedule_id = e.schedule_id
WHERE o.cluster = %(cluster)s AND o.deleted_at IS NULL
  AND (%(namespaces)s::text[] = '{}' OR o.namespace = ANY (%(namespaces)s))
ORDER BY e.id
LIMIT %(limit)s
