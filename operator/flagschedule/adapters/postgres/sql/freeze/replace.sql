-- The intervals of a freeze as they should be; the caller holds the object's lock. What is as it should be stays, with
-- its id: processors look at all held rows again when the ids of the active freezes change. An interval that has begun
-- is the same one if its end is: how far back a recurring one began is not known.
WITH wanted AS (
    SELECT w.starts_at, w.ends_at
    FROM unnest(%(starts_at)s::timestamptz[], %(ends_at)s::timestamptz[]) AS w (starts_at, ends_at)
    WHERE w.ends_at IS NULL OR w.ends_at > now()
),
kept AS (
    SELECT z.id, z.starts_at, z.ends_at
    FROM flag_schedule_freezes AS z
    WHERE z.uid = %(uid)s AND z.cluster = %(cluster)s AND z.name = %(name)s AND z.reason = %(reason)s
      AND z.environments IS NOT DISTINCT FROM %(environments)s::text[]
      AND z.namespaces IS NOT DISTINCT FROM %(namespaces)s::text[]
      AND z.flag_keys IS NOT DISTINCT FROM %(flag_keys)s::text[]
      AND z.allow_switch_off = %(allow_switch_off)s
      AND EXISTS (
          SELECT FROM wanted AS w
          WHERE w.ends_at IS NOT DISTINCT FROM z.ends_at
            AND greatest(w.starts_at, now()) = greatest(z.starts_at, now())
      )
),
removed AS (
    DELETE FROM flag_schedule_freezes AS z
    WHERE z.uid = %(uid)s AND z.id NOT IN (SELECT k.id FROM kept AS k)
)
INSERT INTO flag_schedule_freezes
    (cluster, uid, name, reason, starts_at, ends_at, environments, namespaces, flag_keys, allow_switch_off)
SELECT %(cluster)s, %(uid)s, %(name)s, %(reason)s, w.starts_at, w.ends_at, %(environments)s, %(namespaces)s,
       %(flag_keys)s, %(allow_switch_off)s
FROM wanted AS w
WHERE NOT EXISTS (
    SELECT FROM kept AS k
    WHERE k.ends_at IS NOT DISTINCT FROM w.ends_at AND greatest(k.starts_at, now()) = greatest(w.starts_at, now())
)
