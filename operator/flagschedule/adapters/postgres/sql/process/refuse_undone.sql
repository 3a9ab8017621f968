-- Ends the transaction with an error if a flag does not have what one of these schedules set, because a trigger
-- changed it after the statement that applied them. The watermark shows which schedule set a property last.
SELECT flag_schedule_refuse(min(held.value))
FROM (
    SELECT CASE
               WHEN w.enabled_by = s.id AND f.enabled IS DISTINCT FROM (s.updates ->> 'enabled')::boolean
                   THEN 'enabled ' || coalesce(f.enabled::text, 'null')
               WHEN w.rollout_percentage_by = s.id
                    AND f.rollout_percentage IS DISTINCT FROM (s.updates ->> 'rolloutPercentage')::numeric::integer
                   THEN 'rolloutPercentage ' || coalesce(f.rollout_percentage::text, 'null')
           END AS value
    FROM feature_flag_schedules AS s
    JOIN feature_flags AS f ON f.id = s.flag_id
    JOIN flag_schedule_watermarks AS w ON w.flag_id = s.flag_id
    WHERE s.id = ANY (%(ids)s::uuid[]) AND s.status = 'applied'
) AS held
HAVING count(held.value) > 0
