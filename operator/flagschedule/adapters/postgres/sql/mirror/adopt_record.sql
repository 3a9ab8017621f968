-- The object is this operator's: it sees it. Its record follows when the cluster's name is changed.
UPDATE flag_schedule_objects SET cluster = %(cluster)s WHERE uid = %(uid)s AND cluster <> %(cluster)s
