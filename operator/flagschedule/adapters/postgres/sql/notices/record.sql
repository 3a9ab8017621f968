-- What became of some tries: delivered, or to be tried again after so many seconds.
UPDATE flag_schedule_notices AS n
SET ended_at = CASE WHEN x.pause IS NULL THEN now() END,
    failures = n.failures + CASE WHEN x.pause IS NULL THEN 0 ELSE 1 END,
    next_try_at = now() + make_interval(secs => coalesce(x.pause, 0))
FROM unnest(%(ids)s::uuid[], %(pauses)s::float8[]) AS x (id, pause)
WHERE n.id = x.id AND n.ended_at IS NULL
