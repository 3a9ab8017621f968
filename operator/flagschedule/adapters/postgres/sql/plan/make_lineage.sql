-- The lineage of a name that is planned for the first time.
INSERT INTO flag_plan_lineages (cluster, namespace, name) VALUES (%(cluster)s, %(namespace)s, %(name)s)
ON CONFLICT DO NOTHING
