"""The plugin's forecast is what the operator plans and the processor makes: both are run next to each other."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagschedule.domain import plan_status
from flagschedule.plugin.forecast import forecast, simulate
from flagschedule.plugin.objects import Obj
from tests.support.plans import PlanWorld, change, plan_body, plan_object

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
BEGIN: Final = datetime(2027, 3, 24, 0, 0, tzinfo=UTC)  # the clocks of Oslo are set forward on the 28th
ON, OFF = {"enabled": True}, {"enabled": False}


def ramp(*, first: str = "2027-03-24T09:00:00Z", **last: Any) -> dict[str, Any]:
    """Return the spec of 5, 25 and 100 percent."""
    steps = [
        {"name": "five", "at": first, "changes": [change(rolloutPercentage=5)]},
        {"name": "quarter", "after": "24h", "changes": [change(rolloutPercentage=25), change("other")]},
        {"name": "all", "after": "48h", "changes": [change(rolloutPercentage=100)], **last},
    ]
    return {"steps": steps}


def recurring(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the spec of a plan that recurs in Oslo."""
    return {"timeZone": "Europe/Oslo", "steps": list(steps), **fields}


def hours(cron: str, until: str, name: str = "hours") -> dict[str, Any]:
    """Return a step with windows."""
    return {"name": name, "cron": cron, "until": until, "changes": [change(then=OFF)]}


PLANS: Final[dict[str, dict[str, Any]]] = {
    "office hours": recurring(hours("0 9 * * 1-5", "17:00")),
    "over midnight": recurring(hours("0 22 * * *", "06:00"), exceptDates=["2027-03-26"]),
    "in the gap": recurring(hours("30 2 * * *", "03:15")),
    "back to back": recurring(hours("0 9 * * *", "12:00", "a"), hours("0 12 * * *", "15:00", "b")),
    "an end of all": recurring(hours("0 9 * * *", "17:00"), endsAt="2027-03-27T12:00:00Z"),
    "every six hours": recurring({"name": "hourly", "cron": "0 */6 * * *", "changes": [change("other")]}),
    "a ramp": ramp(),
    "two chains": {
        "steps": [
            *ramp()["steps"][:2],
            {"name": "off", "at": "2027-03-27T09:00:00Z", "changes": [change(enabled=False)]},
        ]
    },
    "a window": {
        "steps": [
            {"name": "w", "at": "2027-03-25T09:00:00Z", "until": "2027-03-26T09:00:00Z", "changes": [change(then=OFF)]}
        ]
    },
}


def observed(spec: dict[str, Any], elapsed: timedelta) -> tuple[PlanWorld, Obj, Any]:
    """Let time pass. Returns: the world, the object as kubectl shows it, and as it is planned."""
    on = PlanWorld(now=BEGIN)
    on.add_flags("chat", "other")
    rest = {name: value for name, value in spec.items() if name != "steps"}
    obj = plan_object(*spec["steps"], created_at=BEGIN - HOUR, **rest)
    on.reconcile(obj)
    on.run(obj, BEGIN + elapsed, HOUR / 2)
    status = plan_status.compute(obj, on.facts(obj), on.reconcile(obj))
    assert status
    body = plan_body(*spec["steps"], created_at=BEGIN - HOUR, status=status.as_json(), **rest)
    return on, Obj({"kind": "FlagPlan", **body}), obj


def frozen(values: Any) -> tuple[Any, ...]:
    """Return values that can be members of a set."""
    return tuple(sorted(values.items()))


@pytest.mark.parametrize("spec", PLANS.values(), ids=PLANS)
@settings(deadline=None, max_examples=15)
@given(halves=st.integers(0, 300))
def test_what_comes_is_what_is_planned(spec: dict[str, Any], halves: int) -> None:
    """At any time each row of the next six days is in the forecast, and of plans that recur nothing else is."""
    on, shown, _ = observed(spec, halves * HOUR / 2)
    until = on.now + 6 * DAY
    coming = {(it.at, it.flag.key, frozen(it.values)) for it in forecast([shown], on.now, until).changes}
    rows = {
        (link.due_at, link.key.flag[0], frozen(link.updates))
        for link in on.links.values()
        if link.unfinished and link.due_at <= until
    }

    assert rows <= coming
    assert "timeZone" not in spec or coming == rows


@pytest.mark.parametrize("spec", PLANS.values(), ids=PLANS)
@settings(deadline=None, max_examples=8)
@given(halves=st.integers(0, 200), ahead=st.integers(1, 300))
def test_what_is_simulated_comes_true(spec: dict[str, Any], halves: int, ahead: int) -> None:
    """Each value that the plugin claims for a time is the flag's value at that time."""
    on, shown, obj = observed(spec, halves * HOUR / 2)
    at = on.now + ahead * HOUR / 2
    claimed, missed = simulate([shown], forecast([shown], on.now, at), at)
    on.run(obj, at, HOUR / 2)

    assert missed == []
    for (flag, name), setting in claimed.items():
        assert on.values[flag][name] == setting.value, (flag, name, setting)
