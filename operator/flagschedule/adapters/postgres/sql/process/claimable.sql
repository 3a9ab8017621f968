-- What a claim finds, and no column of it that is not needed: Postgres holds values that Python cannot.
SELECT c.id, c.flag_id, c.version::text
FROM (
    /* claim */ SELECT
) AS c
