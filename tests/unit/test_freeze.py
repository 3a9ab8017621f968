"""What a FlagFreeze says, and when it holds changes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flagschedule.domain.conditions import find
from flagschedule.domain.freeze import FlagFreeze, Interval
from flagschedule.domain.freeze_status import FreezeState, compute

NOW = datetime(2027, 3, 24, 12, 0, tzinfo=UTC)
WEEKEND = {"cron": "0 17 * * 5", "for": "63h", "timeZone": "Europe/Oslo"}


def at(text: str) -> datetime:
    """Return an instant of 2027."""
    return datetime.fromisoformat(f"2027-{text}Z")


def freeze(**spec: Any) -> FlagFreeze:
    """Return an object; its reason is plausible."""
    meta = {"uid": "00000000-0000-4000-8000-0000000000f2", "name": "weekend", "generation": 3, "resourceVersion": "1"}
    return FlagFreeze.from_body({"metadata": meta, "spec": {"reason": "INC-4711", **spec}})


def intervals(now: datetime = NOW, **spec: Any) -> tuple[Interval, ...]:
    """Return when a freeze holds changes."""
    obj = freeze(**spec)
    assert obj.spec, obj.fault
    return obj.spec.intervals(now)


def test_without_windows_it_holds_from_now_on_without_an_end() -> None:
    """The stop button: no clock of an API server delays it."""
    (found,) = intervals()

    assert found.starts_at < NOW - timedelta(days=365)
    assert found.ends_at is None


def test_a_weekend_over_a_change_of_the_clocks_lasts_its_hours() -> None:
    """Friday 17:00 and 63 hours over 2027-03-28 end on Monday at 09:00, an hour later by the wall clock."""
    first, second, *_ = intervals(windows=[WEEKEND])

    assert first == Interval(at("03-26T16:00"), at("03-29T07:00"))
    assert second == Interval(at("04-02T15:00"), at("04-05T06:00"))


def test_a_window_that_is_open_begins_where_it_began() -> None:
    """Within a window the interval is the same at each look, so that its row stays."""
    looks = {intervals(at(now), windows=[WEEKEND])[0] for now in ("03-26T16:00", "03-28T03:00", "03-29T06:59")}

    assert looks == {Interval(at("03-26T16:00"), at("03-29T07:00"))}
    assert intervals(at("03-29T07:00"), windows=[WEEKEND])[0].starts_at == at("04-02T15:00")


@pytest.mark.parametrize("hours", range(0, 24, 6))
def test_35_days_are_known_at_any_time_of_day(hours: int) -> None:
    """Intervals of a daily window reach 35 days ahead, and are the same all day."""
    daily = {"cron": "0 22 * * *", "for": "8h", "timeZone": "UTC"}
    now = NOW.replace(hour=hours)

    last = intervals(now, windows=[daily])[-1]

    assert last.starts_at >= now + timedelta(days=34, hours=2)
    assert last == intervals(NOW, windows=[daily])[-1]


def test_two_are_known_however_rare_they_are() -> None:
    """Of a yearly window two are known ahead."""
    yearly = {"cron": "0 0 24 12 *", "for": "72h", "timeZone": "UTC"}

    found = intervals(windows=[yearly])

    assert [each.starts_at.year for each in found] == [2027, 2028]


def test_windows_that_overlap_are_one() -> None:
    """Both must end; windows that are over are left out."""
    found = intervals(
        windows=[
            {"from": "2027-04-01T00:00:00Z", "until": "2027-04-03T00:00:00Z"},
            {"from": "2027-04-02T00:00:00Z", "until": "2027-04-04T00:00:00+02:00"},
            {"from": "2027-03-01T00:00:00Z", "until": "2027-03-24T12:00:00Z"},
        ]
    )

    assert found == (Interval(at("04-01T00:00"), at("04-03T22:00")),)


@pytest.mark.parametrize(
    ("glob", "pattern"),
    [("shop-*", "shop-%"), ("shop", "shop"), ("*", "%"), ("a_b%", None), ("a-*b", None), ("", None)],
)
def test_globs_of_namespaces(glob: str, pattern: str | None) -> None:
    """A * stands at the end only; everything else is a name."""
    obj = freeze(namespaces=[glob])

    assert (obj.spec.scope.namespaces if obj.spec else None) == (pattern and (pattern,))


def test_a_letter_of_a_key_is_no_wildcard() -> None:
    """The _ of a flag key is a letter, and not LIKE's wildcard."""
    obj = freeze(flagKeys=["check_out.*", "a_b"])

    assert obj.spec
    assert obj.spec.scope.flag_keys == (r"check\_out.%", r"a\_b")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"reason": " "}, "spec.reason"),
        ({"environments": []}, "spec.environments"),
        ({"windows": []}, "spec.windows"),
        ({"windows": [{"from": "2027-01-01T00:00:00Z"}]}, "either from and until, or cron, for and timeZone"),
        ({"windows": [WEEKEND | {"from": "2027-01-01T00:00:00Z"}]}, "either from and until"),
        ({"windows": [{"from": "2027-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}]}, "until after its from"),
        ({"windows": [WEEKEND | {"timeZone": "Europe/Bergen"}]}, "must be a time zone of the IANA database"),
        ({"windows": [WEEKEND | {"cron": "0 17 30 2 *"}]}, "never starts"),
        ({"windows": [WEEKEND | {"cron": "*/5 * * * *"}]}, "starts twice within 5 minutes"),
        ({"windows": [WEEKEND | {"for": "0s"}]}, "for is 0"),
        ({"windows": [WEEKEND | {"for": "3d"}]}, "whole hours, minutes and seconds"),
        ({"allowSwitchOff": "yes"}, "spec.allowSwitchOff"),
        ({"other": 1}, "spec.other"),
    ],
)
def test_what_cannot_be_used_is_named(spec: dict[str, Any], sentence: str) -> None:
    """The fault names the field, and what may be written."""
    obj = freeze(**spec)

    assert obj.spec is None
    assert sentence in (obj.fault or "")


def test_a_fault_in_a_window_is_the_only_one_that_is_named() -> None:
    """An hour 24, as in a report on another tool; it is not said that the list has no valid window."""
    obj = freeze(windows=[WEEKEND | {"cron": "* 7-24 * * 0-6"}])

    assert obj.fault == (
        'spec.windows.0.cron: has a hour that is not valid, "7-24": write 0 to 23; lists 1,2, ranges 1-5 and steps */2 '
        "are allowed, too"
    )


def test_a_window_holds_nothing_outside_of_its_times() -> None:
    """Neither before its first time nor in a gap between others, and by the clock of its zone in summer, too."""

    def holds(at: str, cron: str, length: str, zone: str) -> bool:
        now = datetime.fromisoformat(at)
        spec = freeze(windows=[{"cron": cron, "for": length, "timeZone": zone}]).spec
        assert spec
        return any(it.starts_at <= now and (it.ends_at is None or now < it.ends_at) for it in spec.intervals(now))

    daily = ("2 13 * * *", "1h", "UTC")
    times = [f"2027-01-12T{at}:00Z" for at in ("12:00", "13:02", "14:01", "14:02")]
    assert [at for at in times if holds(at, *daily)] == times[1:3]
    but_one_hour = ("0 0-15,17-23 * * *", "1h", "UTC")
    times = [f"2027-01-12T{at}:00Z" for at in ("16:00", "16:59", "15:59", "17:00")]
    assert [at for at in times if holds(at, *but_one_hour)] == times[2:]
    london = ("0 9 * * *", "3h30m", "Europe/London")
    times = [f"2027-03-{at}:00Z" for at in ("26T08:30", "26T12:29", "29T08:30", "29T11:30")]
    assert [at for at in times if holds(at, *london)] == times[1:3]


def test_too_many_intervals_are_refused() -> None:
    """Each look of the processor reads the intervals, so that their number has a bound."""
    hourly = [{"cron": f"{n} * * * *", "for": "1m", "timeZone": "UTC"} for n in (0, 30)]

    with pytest.raises(ValueError, match="at most 1000 are allowed"):
        intervals(windows=hourly)


def shown(state: FreezeState, *, obeyed: bool = True, fault: str | None = None) -> tuple[str | None, ...]:
    """Return phase, and status and reason of Active."""
    found = compute(freeze(), state, obeyed=obeyed, fault=fault, now=NOW)
    active = find(found.conditions, "Active")
    assert active
    assert found.observed_generation == 3
    assert bool(find(found.conditions, "Stalled")) == (fault is not None)
    return found.phase, active.status, active.reason


def test_the_status_is_what_the_database_has() -> None:
    """Active is True only while an interval holds, and no older processor may be at work."""
    later = FreezeState(next_from=NOW + timedelta(days=1), next_until=NOW + timedelta(days=2))

    assert shown(FreezeState(active=True)) == ("Active", "True", "Frozen")
    assert shown(FreezeState(active=True), obeyed=False) == ("Pending", "Unknown", "WaitingForProcessors")
    assert shown(later) == ("Scheduled", "False", "NotYet")
    assert shown(FreezeState()) == ("Finished", "False", "Over")
    assert shown(FreezeState(), fault="x") == ("Invalid", "False", "InvalidSpec")
    assert shown(FreezeState(active=True), fault="x") == ("Invalid", "True", "Frozen")


def test_a_status_that_was_written_is_read_as_the_same() -> None:
    """A computed status equals the stored one, so that it is written once."""
    state = FreezeState(
        active=True,
        until=NOW + timedelta(hours=1, microseconds=7),
        next_from=NOW + timedelta(days=1),
        next_until=NOW + timedelta(days=2),
        held=7,
    )
    found = compute(freeze(), state, obeyed=True, fault=None, now=NOW)
    stored = type(found).from_json(found.as_json())

    assert stored == found
    assert found.as_json()["nextWindow"] == {"from": "2027-03-25T12:00:00Z", "until": "2027-03-26T12:00:00Z"}
    assert (found.as_json()["held"], found.as_json()["until"]) == (7, "2027-03-24T13:00:00Z")
