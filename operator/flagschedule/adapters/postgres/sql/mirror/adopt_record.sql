-- The object is this operator's: it sees it. Its record and its row follow when the cluster's name is changed.
WITH adopted AS (
    UPDATE flag_schedule_objects SET cluster = %(cluster)s WHERE uid = %(uid)s AND cluster <> %(cluster)s
    RETURNING schedule_id
)
UPDATE feature_flag_schedules AS s SET cluster = %(cluster)s FROM adopted AS a WHERE s.id = a.schedule_id
