-- Part of snapshots.sql.
o.uid = %(uid)s
