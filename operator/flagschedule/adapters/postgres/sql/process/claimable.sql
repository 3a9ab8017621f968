-- What a claim finds, and no column of it that is not needed: Postgres holds values that Python cannot.
-- Two texts from one file, as in apply.sql.
WITH gate AS MATERIALIZED (  -- plain
    /* gate */ SELECT  -- plain
)  -- plain
-- full: WITH taken AS MATERIALIZED (
-- full:     /* taken */ SELECT
-- full: )
SELECT c.id, c.flag_id, c.version::text
FROM (
    /* claim */ SELECT
) AS c
