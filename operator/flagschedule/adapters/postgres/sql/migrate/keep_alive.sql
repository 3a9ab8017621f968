-- So that the lock does not stay with a machine that is gone. Not in a shared session: its peer is the pooler.
SET tcp_keepalives_idle = 30
