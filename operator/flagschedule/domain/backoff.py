"""When a failed attempt is tried again, and when a schedule that stepped aside is.

Source: the original's rule, `2^(retry_count+1)` minutes plus 0-30 s of even jitter, here with the cap of 60
minutes holding for the sum (design section 4.2).  The database picks the delay, so that reading the count
and setting the time are one atomic statement; the rule itself stands only here.
"""

from datetime import timedelta
from typing import Final

MAX_RETRIES: Final = 10
JITTER: Final = timedelta(seconds=30)
# A refusal that is no outcome of a change (a lock, a right, a state of the host's own, a slow trigger): steps aside for
# so many seconds the first time, and so on. After the last of them a further refusal counts as a failed attempt.
SET_ASIDE_DELAYS: Final = (30.0, 60.0, 120.0, 240.0, 480.0)
_CEILING: Final = timedelta(minutes=60) - JITTER


def delay(retry_count: int) -> timedelta:
    """The wait before the retry that follows a failure with `retry_count` retries behind it, without jitter.

    Args:
        retry_count: retries made so far, 0 or more.

    Returns:
        2, 4, 8, 16, 32 minutes, then 59.5: with the jitter of 0-30 s never more than 60 minutes.

    Raises:
        ValueError: `retry_count` is negative.
    """
    if retry_count < 0:
        raise ValueError("retry_count must not be negative")
    # The exponent is bounded so that an absurd count cannot overflow.
    return min(timedelta(minutes=2 ** min(retry_count + 1, MAX_RETRIES + 1)), _CEILING)


def delays() -> list[float]:
    """`delay` in seconds for every possible retry count, 0 to 10, as the statement that records a failure takes it."""
    return [delay(count).total_seconds() for count in range(MAX_RETRIES + 1)]
