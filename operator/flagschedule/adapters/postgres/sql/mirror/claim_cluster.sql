-- Takes or keeps a cluster name; returns no row while another cluster holds it and has shown itself lately.
INSERT INTO flag_schedule_clusters AS c (name, kube_system_uid)
VALUES (%(cluster)s, %(kube_system_uid)s)
ON CONFLICT (name) DO UPDATE SET kube_system_uid = excluded.kube_system_uid, heartbeat_at = now()
WHERE c.kube_system_uid = excluded.kube_system_uid OR c.heartbeat_at < now() - interval '10 minutes'
RETURNING c.name
