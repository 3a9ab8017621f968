-- Count old rows of one kind, and delete nothing.
SELECT %(kind)s::text AS label, count(*)
/* old */ FROM
GROUP BY label
