-- Plans that wait for a flag that exists by now. A path of jsonb raises no error, with any value of a damaged record.
SELECT p.uid, p.namespace, p.name
FROM flag_plans AS p
WHERE p.missing <> '[]' AND p.cluster = %(cluster)s AND p.deleted_at IS NULL
  AND (%(namespaces)s::text[] = '{}' OR p.namespace = ANY (%(namespaces)s))
  AND EXISTS (
      SELECT FROM jsonb_path_query(p.missing, '$[*]') AS m (flag)
      JOIN feature_flags AS f ON f.flag_key = m.flag ->> 0 AND f.environment = m.flag ->> 1
  )
