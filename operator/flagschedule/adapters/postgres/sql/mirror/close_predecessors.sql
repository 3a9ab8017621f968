-- Older objects of this name are gone: with a cluster that was lost, or behind our back.
UPDATE flag_schedule_objects AS o
SET deleted_at = now()
WHERE o.cluster = %(cluster)s AND o.namespace = %(namespace)s AND o.name = %(name)s
      AND o.uid <> %(uid)s AND o.created_at <= %(created_at)s AND o.deleted_at IS NULL
