-- Part of snapshots.sql and records.sql: the next records of this operator, by uid.
o.cluster = %(cluster)s AND o.deleted_at IS NULL
  AND (%(namespaces)s::text[] = '{}' OR o.namespace = ANY (%(namespaces)s))
  AND o.uid > %(after)s
ORDER BY o.uid
LIMIT %(page)s
