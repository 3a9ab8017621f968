-- Summaries of runs that are past their time.
FROM flag_schedule_runs AS old
WHERE old.ctid >= %(first)s::tid AND old.ctid < %(end)s::tid
  AND old.started_at < now() - %(run_days)s * interval '24 hours'
