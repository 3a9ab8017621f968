-- The original's second step, with rows at every point of a retry.
ALTER TABLE feature_flag_schedules
    ADD COLUMN retry_count integer NOT NULL DEFAULT 0,
    ADD COLUMN max_retries integer NOT NULL DEFAULT 3,
    ADD COLUMN next_retry_at timestamptz,
    ADD COLUMN last_error text,
    ADD CONSTRAINT max_retries_check CHECK (max_retries BETWEEN 0 AND 10);
CREATE INDEX idx_schedules_next_retry_at ON feature_flag_schedules (next_retry_at);
INSERT INTO feature_flag_schedules
    (flag_id, scheduled_at, status, updates, error_message, last_error, retry_count, next_retry_at)
SELECT f.id, now() - interval '1 day', 'failed', '{"enabled": true}', e, e, n, now() - interval '1 hour' + w
FROM feature_flags AS f,
     (VALUES ('due for a retry', 1, interval '0'), ('waits for a retry', 2, interval '1 day'),
             ('exhausted', 3, interval '0')) AS t (e, n, w)
WHERE f.environment = 'production';
