-- Whether the freeze z holds the row s of the flag f now. A row past its deadline is not held, because it ends anyway.
z.starts_at <= now() AND (z.ends_at IS NULL OR z.ends_at > now())
AND (z.environments IS NULL OR f.environment = ANY (z.environments))
AND (z.flag_keys IS NULL OR f.flag_key LIKE ANY (z.flag_keys))
AND (z.namespaces IS NULL OR s.cluster = z.cluster AND s.namespace LIKE ANY (z.namespaces))
AND (s.overrides IS NULL OR s.cluster IS DISTINCT FROM z.cluster OR z.name <> ALL (s.overrides))
AND NOT (z.allow_switch_off AND s.updates = '{"enabled": false}')
AND (s.not_after IS NULL OR s.not_after >= now() OR s.status <> 'pending')
