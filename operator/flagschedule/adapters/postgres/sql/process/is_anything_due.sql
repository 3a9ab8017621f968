-- Whether a first attempt or a retry is due; Postgres looks for retries only if no first attempt is due.
SELECT (/* first_attempt */ false) OR (/* retry */ false)
