-- Which records there are, where their values or rows cannot be read.
SELECT o.uid, o.namespace, o.name, o.schedule_id
FROM flag_schedule_objects AS o
WHERE /* which */ true
