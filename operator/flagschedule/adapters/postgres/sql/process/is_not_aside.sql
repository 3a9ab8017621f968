-- Whether the row s is not set aside. From this form the planner expects, with statistics or without, that nearly all
-- rows meet it.
CASE WHEN s.set_aside_until IS NULL THEN 0 ELSE least(s.set_aside_count, 1) END <> 1
