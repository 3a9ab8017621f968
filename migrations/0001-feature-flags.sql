-- Expands: the host's table of flags, only where it is absent, so that an empty database works too.
-- An existing table is never touched.
SET LOCAL lock_timeout = '10s';

CREATE TABLE IF NOT EXISTS feature_flags (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    flag_key text NOT NULL,
    enabled boolean NOT NULL DEFAULT false,
    rollout_percentage integer NOT NULL DEFAULT 0 CHECK (rollout_percentage BETWEEN 0 AND 100),
    description text,
    environment text NOT NULL DEFAULT 'production',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (flag_key, environment)
);
