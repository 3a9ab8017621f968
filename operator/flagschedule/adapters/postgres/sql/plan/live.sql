-- Objects that are not marked deleted, in this operator's namespaces.
SELECT p.uid, p.namespace, p.name, p.created_at, p.generation
FROM flag_plans AS p
WHERE p.cluster = %(cluster)s AND p.deleted_at IS NULL
  AND (%(namespaces)s::text[] = '{}' OR p.namespace = ANY (%(namespaces)s))
