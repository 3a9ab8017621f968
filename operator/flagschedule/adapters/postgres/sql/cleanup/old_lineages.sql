-- Names of plans of which nothing is left: neither a record nor what identifies a change.
FROM flag_plan_lineages AS old
WHERE old.ctid >= %(first)s::tid AND old.ctid < %(end)s::tid
  AND (SELECT count(*) FROM flag_plans AS p WHERE p.lineage = old.id) = 0
  AND (SELECT count(*) FROM (SELECT FROM flag_plan_rows AS r WHERE r.lineage = old.id LIMIT 1) AS found) = 0
