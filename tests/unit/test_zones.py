"""Names of time zones, and the data behind them."""

import zoneinfo
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path

import pytest

from flagschedule.domain import zones

LOCAL = datetime(2027, 3, 28, 2, 30)  # noqa: DTZ001 -- a local time


@pytest.mark.parametrize(
    "name",
    [
        "europe/oslo",
        "Europe/Oslo ",
        "Europe/",
        "Europe",
        "CEST",
        "UTC+2",
        "+02:00",
        "Local",
        "localtime",
        "posixrules",
        "Factory",
        "posix/Europe/Oslo",
        "right/Europe/Oslo",
        "/usr/share/zoneinfo/Europe/Oslo",
        "../zoneinfo/Europe/Oslo",
        "Europe/../Europe/Oslo",
        "tzdata.zi",
        "zone.tab",
        "",
        "\0",
        "x" * 10_000,
        None,
        2,
        ["UTC"],
    ],
)
def test_what_is_no_name_of_a_zone_is_refused(name: object) -> None:
    """Only exact names of the IANA database are zones: no path, no file of the package, no offset, no abbreviation."""
    with pytest.raises(ValueError, match=r"for example \"Europe/Oslo\"; .{0,70} is not in tzdata 20\d\d\.\d+$"):
        zones.parse_zone(name)


def test_each_name_of_the_database_is_a_zone() -> None:
    """Every name that is listed can be loaded, and the same name is the same object."""
    assert len(zones.names()) > 590
    assert {name: zones.parse_zone(name).key for name in zones.names()} == {name: name for name in zones.names()}
    assert zones.parse_zone("US/Eastern") is zones.parse_zone("US/Eastern")


def test_the_data_is_that_of_the_package(tmp_path: Path) -> None:
    """A machine whose own data is wrong computes the same instants."""
    (tmp_path / "Europe").mkdir()
    utc = resources.files("tzdata").joinpath("zoneinfo", "Etc", "UTC").read_bytes()
    (tmp_path / "Europe" / "Prague").write_bytes(utc)
    noon = datetime(2027, 7, 1, 12, tzinfo=UTC)
    zoneinfo.reset_tzpath([tmp_path])
    try:
        assert noon.astimezone(zoneinfo.ZoneInfo.no_cache("Europe/Prague")).hour == 12
        assert noon.astimezone(zones.parse_zone("Europe/Prague")).hour == 14
    finally:
        zoneinfo.reset_tzpath()


def test_the_version_is_that_of_the_package() -> None:
    """The version changes with the package, so that a new one is noticed."""
    assert metadata.version("tzdata") == zones.TZDATA_VERSION


def test_a_local_time_has_no_instant_one_or_two() -> None:
    """In a gap there is none, in an overlap there are two, in their order, and the rest has one."""
    oslo = zones.parse_zone("Europe/Oslo")

    assert zones.instants(LOCAL, oslo) == ()
    assert zones.instants(LOCAL.replace(day=27), oslo) == (datetime(2027, 3, 27, 1, 30, tzinfo=UTC),)
    assert zones.instants(LOCAL.replace(month=10, day=31), oslo) == (
        datetime(2027, 10, 31, 0, 30, tzinfo=UTC),
        datetime(2027, 10, 31, 1, 30, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("zone", "local", "instant"),
    [
        ("Europe/Oslo", datetime(2027, 3, 28, 2, 0), "2027-03-28T01:00:00+00:00"),  # noqa: DTZ001 -- a local time
        ("Europe/Oslo", datetime(2027, 3, 28, 2, 59, 59), "2027-03-28T01:00:00+00:00"),  # noqa: DTZ001 -- a local time
        ("Pacific/Apia", datetime(2011, 12, 30, 9, 0), "2011-12-30T10:00:00+00:00"),  # noqa: DTZ001 -- a local time
        ("Africa/Monrovia", datetime(1972, 1, 7, 0, 10), "1972-01-07T00:44:30+00:00"),  # noqa: DTZ001 -- a local time
    ],
    ids=["its first second", "its last second", "a whole day", "offsets with seconds"],
)
def test_after_a_gap_comes_the_instant_of_the_change(zone: str, local: datetime, instant: str) -> None:
    """A skipped time happens at the instant at which the clocks are changed, to the second."""
    assert zones.first_instant(local, zones.parse_zone(zone)).isoformat() == instant
