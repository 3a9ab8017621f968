"""How often and how long schedules are tried again. The pauses between attempts stand in record_failure.sql."""

from typing import Final

MAX_RETRIES: Final = 10
# A refusal that is no outcome of a change (a lock, a right, a state of the host's own, a slow trigger): steps aside for
# so many seconds the first time, and so on. After the last of them a further refusal counts as a failed attempt.
SET_ASIDE_DELAYS: Final = (30.0, 60.0, 120.0, 240.0, 480.0)
