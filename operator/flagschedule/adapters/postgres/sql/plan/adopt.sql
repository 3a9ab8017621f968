-- The object is this operator's: it sees it. Its record, its lineage and its rows follow when the cluster's name is changed.
-- Where the new name has a lineage already, the old one stays as it is, and the record keeps it.
WITH adopted AS (
    UPDATE flag_plans SET cluster = %(cluster)s WHERE uid = %(uid)s AND cluster <> %(cluster)s
    RETURNING lineage
),
renamed AS (
    UPDATE flag_plan_lineages AS l SET cluster = %(cluster)s
    FROM adopted AS a
    WHERE l.id = a.lineage AND NOT EXISTS (
        SELECT FROM flag_plan_lineages AS other
        WHERE (other.cluster, other.namespace, other.name) = (%(cluster)s, l.namespace, l.name)
    )
)
UPDATE feature_flag_schedules AS s SET cluster = %(cluster)s
FROM adopted AS a JOIN flag_plan_rows AS r ON r.lineage = a.lineage AND r.state IS NULL
WHERE s.id = r.schedule_id AND (s.status = 'pending' OR s.status = 'failed' AND s.next_retry_at IS NOT NULL)
