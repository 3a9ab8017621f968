-- Expands: notices for the webhook. Only the operator writes them, and only where a webhook is configured.
SET LOCAL lock_timeout = '10s';

-- No foreign key, so that a notice takes no lock on its change, and outlives it.
CREATE TABLE IF NOT EXISTS flag_schedule_notices (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),  -- by which the receiver recognises what it got twice
    cluster text NOT NULL,
    namespace text NOT NULL,
    event text NOT NULL,
    subject text NOT NULL,       -- environment/flag
    happened_at timestamptz NOT NULL,
    data jsonb NOT NULL,
    once text UNIQUE,            -- identifies what is found again by each look; null for all else
    created_at timestamptz NOT NULL DEFAULT now(),
    failures integer NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz         -- when it was delivered or dropped
);
CREATE INDEX IF NOT EXISTS idx_flag_schedule_notices_open ON flag_schedule_notices (cluster, next_try_at)
    WHERE ended_at IS NULL;
