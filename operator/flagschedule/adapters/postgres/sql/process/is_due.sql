-- Whether a first attempt or a retry of the row s is due.
s.status = 'pending' AND s.scheduled_at <= now() OR s.status = 'failed' AND s.next_retry_at <= now()
