-- Expands: room on each page for the next version of its rows. Watermarks change with every schedule that is applied
-- and none of their changed columns is indexed, so that a change which fits its page costs no index entry.
-- Pages that are full already get their room as their rows change.
SET LOCAL lock_timeout = '10s';

ALTER TABLE flag_schedule_watermarks SET (fillfactor = 50);
