-- Waiting objects for which something has changed: their flag exists by now, or their time has passed.
SELECT o.uid, o.namespace, o.name
FROM flag_schedule_objects AS o
WHERE o.state = 'waiting' AND o.deleted_at IS NULL AND o.cluster = %(cluster)s
  AND (%(namespaces)s::text[] = '{}' OR o.namespace = ANY (%(namespaces)s))
  AND (o.scheduled_at < now()
       OR EXISTS (SELECT FROM feature_flags AS f
                  WHERE f.flag_key = o.flag_key AND f.environment = o.environment))
ORDER BY o.scheduled_at
