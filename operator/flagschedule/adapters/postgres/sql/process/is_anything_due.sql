-- Whether a first attempt or a retry is due; retries are looked at only where no first attempt is.
SELECT (/* first_attempt */ false) OR (/* retry */ false)
