"""Cron expressions of all forms that our parser accepts, most of them in the hours in which clocks are changed."""

from datetime import time
from typing import Final

from hypothesis import strategies as st

_hour: Final = st.sampled_from([0, 1, 2, 2, 3, 4, 9, 22, 23])
_minute: Final = st.sampled_from([0, 0, 1, 15, 30, 30, 45, 59])


def _list(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=3).map(",".join)


def _field(value: st.SearchStrategy[int], low: int, high: int, steps: list[int]) -> st.SearchStrategy[str]:
    step = st.sampled_from(steps)
    between = st.tuples(st.integers(low, high), st.integers(low, high)).filter(lambda pair: pair[0] < pair[1])
    return _list(
        value.map(str)
        | between.map(
            lambda pair: f"{pair[0]}-{pair[1]}" if pair[1] - pair[0] < 3 else f"{pair[0]}-{pair[1]}/{steps[0]}"
        )
        | st.builds("{}/{}".format, value, step)
    ) | st.builds("*/{}".format, step)


_minutes: Final = _minute.map(str) | _field(_minute, 0, 59, [7, 15, 30, 60])
_hours: Final = st.just("*") | _hour.map(str) | _field(_hour, 0, 23, [2, 3, 12, 24])
_months: Final = (
    st.just("*") | st.just("*") | _field(st.integers(1, 12), 1, 12, [2, 5]) | st.sampled_from(["MAR,oct", "Feb", "1-6"])
)
_days: Final = _field(st.integers(1, 31), 1, 31, [2, 10]) | _list(
    st.sampled_from(["L", "LW", "1", "15", "28-31", "31"])
)
_weekdays: Final = _field(st.integers(0, 7), 0, 7, [2, 3]) | _list(
    st.sampled_from(["SUN", "mon-FRI", "0L", "7L", "5L", "7#1", "sun#5", "1#2", "6-7", "0"])
)

expressions: Final = st.one_of(
    st.tuples(_minutes, _hours, st.just("*"), _months, st.just("*")),
    st.tuples(_minutes, _hours, _days, _months, st.just("*")),
    st.tuples(_minutes, _hours, st.just("*"), _months, _weekdays),
).map(" ".join)

untils: Final = st.builds(time, _hour, _minute)
