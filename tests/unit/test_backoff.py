"""The wait between attempts."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagschedule.domain import backoff


def test_waits_double_until_the_cap() -> None:
    """The waits are 2, 4, 8, 16 and 32 minutes, then 59.5 for every further retry."""
    minutes = [backoff.delay(count) / timedelta(minutes=1) for count in range(8)]

    assert minutes == [2, 4, 8, 16, 32, 59.5, 59.5, 59.5]


@given(st.integers(min_value=0, max_value=10**9))
def test_never_more_than_an_hour_with_jitter(retry_count: int) -> None:
    """After any number of attempts the wait with its jitter is at least 2 and at most 60 minutes."""
    wait = backoff.delay(retry_count)

    assert timedelta(minutes=2) <= wait <= wait + backoff.JITTER <= timedelta(minutes=60)


@given(st.integers(min_value=0, max_value=100))
def test_never_shorter_than_the_wait_before(retry_count: int) -> None:
    """A later retry never waits less than an earlier one."""
    assert backoff.delay(retry_count) <= backoff.delay(retry_count + 1)


def test_there_is_a_delay_for_every_possible_count() -> None:
    """The statement that records a failure finds a delay for each of the 0 to 10 retries made so far."""
    assert backoff.delays() == [backoff.delay(count).total_seconds() for count in range(11)]


def test_a_negative_count_is_refused() -> None:
    """A count below 0 is an error that names itself a bug."""
    with pytest.raises(ValueError, match="negative"):
        backoff.delay(-1)
