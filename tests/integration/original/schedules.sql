-- The original's first step, with a row in every state.
CREATE TABLE feature_flag_schedules (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    flag_id uuid NOT NULL REFERENCES feature_flags (id) ON DELETE CASCADE,
    scheduled_at timestamptz NOT NULL,
    status varchar(20) NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'applied', 'failed', 'cancelled')),
    updates jsonb NOT NULL,
    applied_at timestamptz,
    error_message text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);
CREATE INDEX idx_schedules_flag_id ON feature_flag_schedules (flag_id);
CREATE INDEX idx_schedules_scheduled_at ON feature_flag_schedules (scheduled_at);
CREATE INDEX idx_schedules_status ON feature_flag_schedules (status);
INSERT INTO feature_flag_schedules (flag_id, scheduled_at, status, updates, applied_at, error_message)
SELECT f.id, now() - d * interval '1 day', s, '{"enabled": true, "rolloutPercentage": 50}', a, e
FROM feature_flags AS f,
     (VALUES (-1, 'pending', NULL::timestamptz, NULL), (2, 'applied', now(), NULL), (3, 'failed', NULL, 'boom'),
             (4, 'cancelled', NULL, NULL)) AS t (d, s, a, e)
WHERE f.environment = 'production';
