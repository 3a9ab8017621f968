-- Changes without a row: their flag does not exist, or they will not be made.
INSERT INTO flag_plan_rows
    (lineage, occurrence, step, part, flag_key, environment, plan, is_chain, is_moved, due_at, updates, state, reason,
     applied_at)
SELECT %(lineage)s, x.occurrence, x.step, x.part, x.flag_key, x.environment, %(uid)s, true, x.is_moved, x.due_at,
       x.updates, x.state, x.reason, x.applied_at
FROM jsonb_to_recordset(%(rows)s) AS x (
    occurrence text, step text, part text, flag_key text, environment text, due_at timestamptz, updates jsonb, state text,
    reason text, applied_at timestamptz, is_moved boolean
)
ON CONFLICT (lineage, occurrence, step, part, flag_key, environment) DO UPDATE
SET plan = excluded.plan, schedule_id = NULL, is_moved = excluded.is_moved, due_at = excluded.due_at, updates = excluded.updates,
    state = excluded.state, reason = excluded.reason, applied_at = excluded.applied_at, error = NULL
