-- These outcomes stand on their objects now.
DELETE FROM flag_schedule_status_outbox WHERE id = ANY (%(ids)s)
