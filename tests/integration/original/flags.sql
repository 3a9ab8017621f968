-- The host's table as the original made it, with what it may hold.
CREATE TABLE feature_flags (
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
INSERT INTO feature_flags (flag_key, enabled, rollout_percentage, description, environment)
VALUES ('checkout-v2', true, 25, 'The new checkout', 'production'), ('checkout-v2', false, 0, NULL, 'staging');
