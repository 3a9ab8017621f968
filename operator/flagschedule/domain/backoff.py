"""How often and how long schedules are tried again. The pauses between attempts stand in record_failure.sql."""

from typing import Final

MAX_RETRIES: Final = 10
# For how many seconds a schedule is set aside the first time, the second time and so on, after a refusal that is no
# outcome of a change (a lock, a missing right, a slow trigger). After the last one, a refusal is a failed attempt.
SET_ASIDE_DELAYS: Final = (30.0, 60.0, 120.0, 240.0, 480.0)
