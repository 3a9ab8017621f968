-- The cache keys of these entries were deleted.
DELETE FROM flag_schedule_cache_outbox WHERE id = ANY (%(ids)s)
