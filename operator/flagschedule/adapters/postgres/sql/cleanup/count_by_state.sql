-- Count old rows by their state, and delete nothing.
SELECT old.status::text AS label, count(*)
/* old */ FROM
GROUP BY label
