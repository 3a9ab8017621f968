-- Locks the object's row against the processor. A statement of its own: one that waits for a lock and reads in the
-- same breath still sees the row as it was before the wait. It does not wait: the caller tries again.
SELECT s.id
FROM feature_flag_schedules AS s
WHERE s.id = (SELECT o.schedule_id FROM flag_schedule_objects AS o WHERE o.uid = %(uid)s)
FOR UPDATE OF s NOWAIT
