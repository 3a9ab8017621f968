-- The summary of a run; a run without finished_at was killed or is still at work.
UPDATE flag_schedule_runs
SET finished_at = clock_timestamp(), processed = %(processed)s, failed = %(failed)s, retried = %(retried)s,
    superseded = %(superseded)s, set_aside = %(set_aside)s, skipped = %(skipped)s,
    refused_cache_keys = %(refused_cache_keys)s, attempts = %(attempts)s
WHERE id = %(run_id)s
