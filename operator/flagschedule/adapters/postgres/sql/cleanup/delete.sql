-- Delete old rows of one kind, and count them.
WITH gone AS (
    DELETE
    /* old */ FROM
    RETURNING %(kind)s::text AS label
)
SELECT label, count(*) FROM gone GROUP BY label
