-- What a claim finds, with no column that is not needed: another program may have written a value that Python cannot
-- read. Two texts from one file, as in apply.sql.
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
