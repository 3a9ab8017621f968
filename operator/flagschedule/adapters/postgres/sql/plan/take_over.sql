-- A newer object of this name goes on with what an older one had planned and not yet done, and with its own chains.
UPDATE flag_plan_rows AS r
SET plan = %(uid)s
WHERE r.lineage = %(lineage)s AND r.plan <> %(uid)s
  AND (r.state IS NULL OR r.state = 'waiting' OR r.is_chain AND r.occurrence = ANY (%(chains)s))
