"""When cron steps start and end; the numbered answers are those that the plans promise."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from flagschedule.domain import calendar, zones
from flagschedule.domain.calendar import Occurrence, Recurrence
from flagschedule.domain.cron import Cron, parse_cron
from tests.support import cron_expressions, wall_clock

OSLO = "Europe/Oslo"
DAY = timedelta(days=1)


def recurrence(
    cron: str, zone: str = OSLO, until: str | None = None, ends_at: datetime | None = None, except_dates: str = ""
) -> Recurrence:
    """Return the times of a step, written as in a plan."""
    return Recurrence(
        cron=parse_cron(cron),
        zone=zones.parse_zone(zone),
        until=None if until is None else calendar.parse_until(until),
        ends_at=ends_at,
        except_dates=frozenset(map(calendar.parse_date, except_dates.split())),
    )


def on(day: str, of: Recurrence) -> tuple[Occurrence, ...]:
    """Return what starts on a local date."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=of.zone)
    found = of.between(midnight - DAY, midnight + 2 * DAY).planned
    return tuple(each for each in found if each.start.astimezone(of.zone).date() == midnight.date())


def starts(day: str, of: Recurrence) -> list[str]:
    """Return the instants of what starts on a local date."""
    return [utc(each.start) for each in on(day, of)]


def windows(day: str, of: Recurrence) -> list[tuple[str, str]]:
    """Return the instants of the windows that start on a local date."""
    return [(utc(each.start), utc(each.end)) for each in on(day, of)]


def utc(instant: datetime | None) -> str:
    """Return an instant in short."""
    assert instant is not None
    assert instant.tzinfo is UTC
    return f"{instant:%Y-%m-%d %H:%MZ}"


def at(text: str) -> datetime:
    """Return an instant from its RFC 3339 form."""
    return datetime.fromisoformat(text)


def test_answer_01_a_local_time_follows_the_clocks() -> None:
    """09:00 on working days in Oslo is 08:00Z before the last Sunday of March, and 07:00Z after it."""
    office = recurrence("0 9 * * 1-5")

    assert starts("2027-03-26", office) == ["2027-03-26 08:00Z"]
    assert starts("2027-03-27", office) == starts("2027-03-28", office) == []
    assert starts("2027-03-29", office) == ["2027-03-29 07:00Z"]


def test_answer_02_a_skipped_time_starts_once_after_the_gap() -> None:
    """02:30 on the day on which the clocks go from 02:00 to 03:00 is 03:00, once."""
    assert starts("2027-03-28", recurrence("30 2 * * *")) == ["2027-03-28 01:00Z"]
    assert starts("2027-03-29", recurrence("30 2 * * *")) == ["2027-03-29 00:30Z"]


def test_answer_03_a_repeated_time_starts_once() -> None:
    """02:30 on the day on which the clocks go back from 03:00 to 02:00 is the first of the two."""
    assert starts("2027-10-31", recurrence("30 2 * * *")) == ["2027-10-31 00:30Z"]


def test_answer_03_a_step_of_minutes_goes_on_through_a_repeated_hour() -> None:
    """The repeated hour has its own two starts, because half an hour passes on every clock."""
    found = [each for each in starts("2027-10-31", recurrence("*/30 * * * *")) if each < "2027-10-31 02:00Z"]

    assert found[-4:] == ["2027-10-31 00:00Z", "2027-10-31 00:30Z", "2027-10-31 01:00Z", "2027-10-31 01:30Z"]


def test_answer_03_a_window_into_a_gap_ends_after_it() -> None:
    """01:30 until 02:30 on the day of the gap ends at 03:00, after half an hour."""
    assert windows("2027-03-28", recurrence("30 1 * * *", until="02:30")) == [
        ("2027-03-28 00:30Z", "2027-03-28 01:00Z")
    ]


def test_answer_03_a_window_into_an_overlap_ends_at_the_first_of_two() -> None:
    """01:30 until 02:30 on the day of the overlap ends at the first 02:30, after an hour."""
    assert windows("2027-10-31", recurrence("30 1 * * *", until="02:30")) == [
        ("2027-10-30 23:30Z", "2027-10-31 00:30Z")
    ]


@pytest.mark.parametrize(("start", "until"), [("10 2", "02:50"), ("30 2", "03:00"), ("0 2", "02:01")])
def test_answer_03_a_window_within_a_gap_is_dropped_and_reported(start: str, until: str) -> None:
    """A window of which the clocks skip all has no length: no row is planned, and it is reported."""
    step = recurrence(f"{start} * * *", until=until)
    found = step.between(at("2027-03-27T12:00:00Z"), at("2027-03-28T12:00:00Z"))

    assert found.planned == ()
    assert [(each.local.date(), utc(each.start)) for each in found.dropped] == [
        (date(2027, 3, 28), "2027-03-28 01:00Z")
    ]
    assert len(on("2027-03-29", step)) == 1


def test_answer_04_midnight_that_does_not_exist() -> None:
    """In Beirut the clocks go from 00:00 to 01:00: midnight is 01:00 on that day."""
    (found,) = on("2027-03-28", recurrence("0 0 * * *", "Asia/Beirut"))

    assert found.start.astimezone(zones.parse_zone("Asia/Beirut")).isoformat() == "2027-03-28T01:00:00+03:00"


def test_answer_05_half_an_hour() -> None:
    """On Lord Howe the clocks go from 02:00 to 02:30."""
    (found,) = on("2027-10-03", recurrence("15 2 * * *", "Australia/Lord_Howe"))

    assert found.start.astimezone(zones.parse_zone("Australia/Lord_Howe")).isoformat() == "2027-10-03T02:30:00+11:00"


def test_answer_06_days_that_not_every_month_has() -> None:
    """The 31st comes in seven months, and L is the last day of each month."""
    year = (at("2026-12-31T12:00:00Z"), at("2027-12-31T12:00:00Z"))
    of_31 = [each.local for each in recurrence("0 0 31 * *").between(*year).planned]
    last = [each.local for each in recurrence("0 0 L * *").between(*year).planned]

    assert [local.month for local in of_31] == [1, 3, 5, 7, 8, 10, 12]
    assert [local.day for local in last] == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 13 * 5"])
def test_answer_06_what_never_comes_or_is_ambiguous_is_refused(cron: str) -> None:
    """30 February never comes, and cron starts on each 13th and on each Friday, not on a Friday the 13th."""
    with pytest.raises(ValueError, match="day of month"):
        recurrence(cron)


def test_answer_08_who_comes_five_minutes_late_finds_the_open_window() -> None:
    """At 09:05 the window of 09:00 to 17:00 is open, with the identity that it had before, and nothing starts."""
    hours = recurrence("0 9 * * 1-5", until="17:00")
    (planned,) = hours.between(at("2027-01-12T07:55:00Z"), at("2027-01-12T08:00:00Z")).planned

    assert hours.open_at(at("2027-01-12T08:05:00Z")) == planned
    assert planned.identity == "2027-01-12T09:00 fold 0"
    assert utc(planned.end) == "2027-01-12 16:00Z"
    assert hours.between(at("2027-01-12T08:05:00Z"), at("2027-01-13T07:00:00Z")).planned == ()


def test_a_window_is_open_from_its_start_to_just_before_its_end() -> None:
    """At its start it is open, at its end no more, and a step without `until` has no window."""
    hours = recurrence("0 9 * * 1-5", until="17:00")

    assert hours.open_at(at("2027-01-12T08:00:00Z")) is not None
    assert hours.open_at(at("2027-01-12T15:59:59Z")) is not None
    assert hours.open_at(at("2027-01-12T16:00:00Z")) is None
    assert recurrence("0 9 * * 6", until="09:00").open_at(at("2027-10-31T07:59:00Z")) is not None  # a day of 25 hours
    assert recurrence("0 9 * * 1-5").open_at(at("2027-01-12T08:00:00Z")) is None


def test_answer_10_an_exception_drops_the_pair_and_leaves_the_window_of_the_evening_before() -> None:
    """On 24 December nothing starts; the window that began on the 23rd ends on the 24th, as always."""
    night = recurrence("0 22 * * *", until="06:00", except_dates="2027-12-24")

    assert windows("2027-12-23", night) == [("2027-12-23 21:00Z", "2027-12-24 05:00Z")]
    assert windows("2027-12-24", night) == []
    assert windows("2027-12-25", night) == [("2027-12-25 21:00Z", "2027-12-26 05:00Z")]
    assert night.open_at(at("2027-12-24T04:59:00Z")) is not None
    assert night.open_at(at("2027-12-24T22:00:00Z")) is None


def test_answer_10_windows_back_to_back_meet_on_each_of_1000_days() -> None:
    """The window from 09:00 ends at the instant at which the one from 12:00 starts: on at 12:00, each day."""
    span = (at("2027-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z") + 1000 * DAY)
    morning, noon = recurrence("0 9 * * *", until="12:00"), recurrence("0 12 * * *", until="15:00")
    earlier, later = morning.between(*span).planned, noon.between(*span).planned

    assert len(earlier) == len(later) == 1000
    assert [each.end for each in earlier] == [each.start for each in later]
    assert {each.start.astimezone(noon.zone).time() for each in later} == {time(12)}


def test_no_start_after_the_end_of_a_plan_and_an_open_window_still_ends() -> None:
    """A start at `endsAt` is made, a later one is not, and the window that is open then keeps its end."""
    night = recurrence("0 22 * * *", until="06:00", ends_at=at("2027-12-23T21:00:00Z"))
    found = night.between(at("2027-12-22T12:00:00Z"), at("2028-01-10T12:00:00Z")).planned

    assert [(utc(each.start), utc(each.end)) for each in found] == [
        ("2027-12-22 21:00Z", "2027-12-23 05:00Z"),
        ("2027-12-23 21:00Z", "2027-12-24 05:00Z"),
    ]
    assert night.next_after(at("2027-12-22T12:00:00Z")) == found[0]
    assert night.next_after(at("2027-12-23T21:00:00Z")) is None


def test_equal_start_and_end_is_a_day() -> None:
    """A window until its own start ends a day later, also where that local time comes twice on the same day."""
    assert windows("2027-10-31", recurrence("30 2 * * 0", until="02:30")) == [
        ("2027-10-31 00:30Z", "2027-11-01 01:30Z")
    ]


def test_the_identity_is_the_time_that_the_step_names() -> None:
    """In a gap it is the time that no clock shows, so that other time zone data makes no other occurrence of it."""
    (gap,) = on("2027-03-28", recurrence("30 2 * * *"))
    overlap = [each.identity for each in on("2027-10-31", recurrence("*/30 2 * * *"))]

    assert gap.identity == "2027-03-28T02:30 fold 0"
    assert overlap == [f"2027-10-31T02:{minute} fold {fold}" for fold in (0, 1) for minute in ("00", "30")]


def test_several_times_of_one_gap_start_once() -> None:
    """02:00, 02:30 and 03:00 are one instant on the day of the gap: the time that exists stays."""
    assert [each.identity for each in on("2027-03-28", recurrence("0,30 2,3 * * *"))] == [
        "2027-03-28T03:00 fold 0",
        "2027-03-28T03:30 fold 0",
    ]


def test_a_window_names_a_time_of_day_in_every_form() -> None:
    """Also with a * in the hour a window begins once in an overlap, and after a gap, so that windows never meet."""
    havana = recurrence("0 */24 * * *", "America/Havana", until="08:00")

    assert windows("2028-03-12", havana) == [("2028-03-12 05:00Z", "2028-03-12 12:00Z")]
    assert windows("2027-11-07", havana) == [("2027-11-07 04:00Z", "2027-11-07 13:00Z")]


def test_the_next_start_is_found_beyond_any_horizon() -> None:
    """29 February, the fifth Monday of a February, and a time that the clocks skip are found, however far away."""
    now = at("2026-12-01T00:00:00Z")

    def next_start(of: Recurrence, after: datetime) -> str:
        found = of.next_after(after)
        assert found is not None
        return utc(found.start)

    assert next_start(recurrence("0 12 29 2 *"), now) == "2028-02-29 11:00Z"
    assert next_start(recurrence("0 12 * 2 1#5"), now) == "2044-02-29 11:00Z"
    assert next_start(recurrence("30 2 28 3 *"), at("2027-03-28T00:59:59Z")) == "2027-03-28 01:00Z"
    assert next_start(recurrence("30 2 28 3 *"), at("2027-03-28T01:00:00Z")) == "2028-03-28 00:30Z"
    assert recurrence("0 12 * 2 1#5").next_after(at("2098-01-01T00:00:00Z")) is None


# What users of other schedulers reported as wrong.


def test_the_minute_after_the_repeated_hour_is_the_hour_again() -> None:
    """In Zurich 02:55 in summer time is followed by 02:00, not by 03:00."""
    found = recurrence("*/5 * * * *", "Europe/Zurich").next_after(at("2023-10-29T02:55:00+02:00"))

    assert found is not None
    assert (found.identity, utc(found.start)) == ("2023-10-29T02:00 fold 1", "2023-10-29 01:00Z")


def test_no_start_lies_before_the_instant_from_which_it_is_sought() -> None:
    """At the second 02:10 the next 02:30 is tomorrow's: today's was an hour ago."""
    found = recurrence("30 2 * * *").next_after(at("2027-10-31T02:10:00+01:00"))

    assert found is not None
    assert utc(found.start) == "2027-11-01 01:30Z"


def test_a_date_whose_midnight_does_not_exist_is_not_left_out() -> None:
    """In Sao Paulo 4 November 2018 began at 01:00: what starts then, on that date or weekday only, starts."""
    for cron in ("0 1 4 11 *", "0 1 * * 0"):
        found = recurrence(cron, "America/Sao_Paulo").next_after(at("2018-11-03T23:00:00-03:00"))
        assert found is not None
        assert utc(found.start) == "2018-11-04 03:00Z"


def test_no_time_is_lost_after_a_change_by_half_an_hour() -> None:
    """On Lord Howe each quarter of the hour at 05:00 starts, on both days of change; a second 01:45 does not."""
    quarters = recurrence("*/15 5 * * *", "Australia/Lord_Howe")

    assert starts("2027-10-03", quarters) == [f"2027-10-02 18:{minute}Z" for minute in ("00", "15", "30", "45")]
    assert [each[11:] for each in starts("2027-04-04", quarters)] == ["18:30Z", "18:45Z", "19:00Z", "19:15Z"]
    assert starts("2026-04-05", recurrence("45 1 * * *", "Australia/Lord_Howe")) == ["2026-04-04 14:45Z"]


def test_an_overlap_over_midnight_keeps_its_order() -> None:
    """In St. John's the clocks went from 00:01 back to 23:01: at 00:00 the second 23:30 of the day before is next."""
    halves = recurrence("*/30 * * * *", "America/St_Johns")
    after, to = at("2010-11-07T02:00:00Z"), at("2010-11-07T03:00:00Z")
    found = [each.identity for each in halves.between(after, to).planned]
    following = recurrence("*/30 * 6 11 *", "America/St_Johns").next_after(at("2010-11-07T02:30:00Z"))

    assert found == ["2010-11-07T00:00 fold 0", "2010-11-06T23:30 fold 1"]
    assert following is not None
    assert following.identity == "2010-11-06T23:30 fold 1"


def test_no_start_at_a_time_that_no_clock_shows() -> None:
    """In Beirut the hour of midnight does not exist on that Sunday: each quarter of it does not start."""
    assert starts("2027-03-28", recurrence("*/15 0 * * 0", "Asia/Beirut")) == []
    assert len(starts("2027-04-04", recurrence("*/15 0 * * 0", "Asia/Beirut"))) == 4


def test_a_month_begins_on_its_first_day() -> None:
    """Every fifth day includes 1 March, and each hour of the first of April begins at 00:30."""
    fifth = recurrence("0 0 */5 * *").between(at("2022-02-20T00:00:00Z"), at("2022-03-07T00:00:00Z")).planned

    assert [f"{each.local:%m-%d}" for each in fifth] == ["02-21", "02-26", "03-01", "03-06"]
    assert len(starts("2023-04-01", recurrence("30 * 1 * *"))) == 24
    assert starts("2023-04-02", recurrence("30 * 1 * *")) == []


# Windows that overlap.


@pytest.mark.parametrize(
    ("cron", "until"),
    [
        ("0 9,12 * * *", "15:00"),  # on the same day
        ("0 9,20 * * *", "18:00"),  # the evening's window is open in the morning
        ("0 9,20 * * 6,0", "18:00"),
        ("0 9,20 L,1 * *", "18:00"),  # the last day of a month and the first one
        ("0 9,20 28,1 * *", "18:00"),  # 28 February and 1 March
        ("0 9,20 * * 6#1,0#2", "18:00"),  # the 7th and the 8th, in a month that begins on a Sunday
    ],
)
def test_windows_that_overlap_are_refused(cron: str, until: str) -> None:
    """Windows of one step overlap if any two dates that ever come make them overlap."""
    with pytest.raises(ValueError, match="windows that overlap"):
        recurrence(cron, until=until)


@pytest.mark.parametrize(
    ("cron", "until"),
    [
        ("0 9 * * *", "09:00"),  # each ends when the next one starts
        ("0 9,20 * * 1", "18:00"),
        ("0 9,20 29,1 2 *", "18:00"),
        ("0 9,20 L * *", "18:00"),
        ("0 9,20 * * 6#1,0#3", "18:00"),
    ],
)
def test_windows_that_never_meet_are_accepted(cron: str, until: str) -> None:
    """Windows of one step may end at the next start, or lie on dates of which no two are consecutive."""
    recurrence(cron, until=until)


@settings(max_examples=15)
@given(cron_expressions.expressions, cron_expressions.untils)
def test_overlaps_are_judged_as_by_looking_at_all_starts_of_28_years(cron: str, until: time) -> None:
    """A step is refused exactly if a window of it is open at its next start."""
    parsed = _parsed(cron)
    assume(len(parsed.times) < 10)
    local = list(wall_clock.Fields(cron).local_starts(date(2030, 1, 1), date(2058, 1, 31)))
    ends = [min(end for end in (_on(start, until), _on(start + DAY, until)) if end > start) for start in local]
    overlap = any(end > following for end, following in zip(ends, local[1:], strict=False))

    if overlap:
        with pytest.raises(ValueError, match="windows that overlap"):
            Recurrence(cron=parsed, zone=zones.parse_zone(OSLO), until=until)
    else:
        Recurrence(cron=parsed, zone=zones.parse_zone(OSLO), until=until)


def _on(start: datetime, until: time) -> datetime:
    return datetime.combine(start.date(), until)


def _parsed(cron: str) -> Cron:
    try:
        return parse_cron(cron)
    except ValueError:  # a date that never comes
        assert not any(wall_clock.Fields(cron).local_starts(date(2030, 1, 1), date(2058, 1, 31)))
        assume(False)
        raise


# Compared with a clock that is looked at each minute; `python -m tests.cases calendars` does it for whole years.

_changes = st.sampled_from(wall_clock.ZONES).flatmap(
    lambda zone: st.tuples(st.just(zone), st.sampled_from(wall_clock.days_of_change(zone)))
)


@settings(max_examples=50)
@given(_changes, cron_expressions.expressions, st.none() | cron_expressions.untils)
@example(("Asia/Beirut", at("2027-03-27T12:00:00Z")), "0 0 * * *", time(0, 30))
@example(("Australia/Lord_Howe", at("2027-04-03T12:00:00Z")), "*/15 * * * *", None)
def test_it_is_what_a_clock_shows_on_days_of_change(
    change: tuple[str, datetime], cron: str, until: time | None
) -> None:
    """Starts, ends, dropped windows and identities are those found by looking at a clock of the zone each minute."""
    zone, noon = change
    try:
        step = Recurrence(cron=parse_cron(cron), zone=zones.parse_zone(zone), until=until)
    except ValueError:
        assume(False)
        raise
    span = (noon - DAY / 2, noon + 3 * DAY / 2)

    found = step.between(*span)
    shown = wall_clock.walk(zone, *span).starts(cron, until)

    assert [wall_clock.start(each) for each in found.planned] == [each for each in shown if each.end != each.start]
    assert [wall_clock.start(each) for each in found.dropped] == [each for each in shown if each.end == each.start]


@settings(max_examples=40)
@given(_changes, cron_expressions.expressions, st.none() | cron_expressions.untils, st.integers(0, 2 * 24 * 60))
def test_a_span_can_be_cut_anywhere(change: tuple[str, datetime], cron: str, until: time | None, minutes: int) -> None:
    """Two spans that meet have what the whole has, each occurrence once; no window is open when the next starts."""
    zone, noon = change
    try:
        step = Recurrence(cron=parse_cron(cron), zone=zones.parse_zone(zone), until=until)
    except ValueError:
        assume(False)
        raise
    first, last = noon - DAY / 2, noon + 3 * DAY / 2
    middle = first + timedelta(minutes=minutes)
    whole = step.between(first, last).planned

    assert whole == step.between(first, middle).planned + step.between(middle, last).planned
    assert all(earlier.end is None or earlier.end <= later.start for earlier, later in pairwise(whole))
    assert len({each.identity for each in whole}) == len(whole)
    following = step.next_after(middle)
    later = [each for each in whole if each.start > middle]
    assert following == later[0] if later else following is None or following.start > last


# What stands in an object.


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("10s", timedelta(seconds=10)),
        ("30m", timedelta(minutes=30)),
        ("24h", timedelta(hours=24)),
        ("1h30m", timedelta(minutes=90)),
        ("63h0m1s", timedelta(hours=63, seconds=1)),
        ("90m", timedelta(minutes=90)),
        ("0s", timedelta(0)),
        ("8784h", timedelta(days=366)),
    ],
)
def test_durations(text: str, length: timedelta) -> None:
    """A duration is hours, minutes and seconds; none at all is one, too."""
    assert calendar.parse_duration(text) == length


@pytest.mark.parametrize(
    "text",
    ["", "2d", "30", "1.5h", "30m1h", "1h 30m", "-1h", "+1h", "1H", "8784h1s", "99999999999h", "1h1h", "٣m", 60, None],
)
def test_other_durations_are_refused(text: object) -> None:
    """Days, fractions, other orders and more than 366 days are refused, with examples of what to write."""
    with pytest.raises(ValueError, match=r'write "48h" for two days'):
        calendar.parse_duration(text)


@pytest.mark.parametrize("text", ["24:00", "9:00", "17:60", "17:00:00", "1700", "٠٩:٠٠", "", 900, None])  # noqa: RUF001 -- digits of another script
def test_other_times_of_day_are_refused(text: object) -> None:
    """A time of day has two digits for hour and minute, and 24:00 is 00:00."""
    with pytest.raises(ValueError, match="17:00"):
        calendar.parse_until(text)


@pytest.mark.parametrize("text", ["2027-02-30", "2027-1-1", "20271224", "2027-W01-1", "1999-12-31", "", None, 2027])
def test_other_dates_are_refused(text: object) -> None:
    """A date is a day that exists, as YYYY-MM-DD, of the years that a schedule can have."""
    with pytest.raises(ValueError, match="2027-12-24"):
        calendar.parse_date(text)
