-- Older objects of this name are gone: two live objects cannot share a name.
UPDATE flag_plans AS p
SET deleted_at = now()
WHERE p.lineage = %(lineage)s AND p.uid <> %(uid)s AND p.deleted_at IS NULL AND p.created_at <= %(created_at)s
