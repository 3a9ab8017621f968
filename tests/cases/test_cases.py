"""A bounded part of the cases by machine; `python -m tests.cases` tries all of them."""

from collections.abc import Iterator

import pytest

from dev.localkind.servers.postgres import Postgres
from tests.cases import calendars, columns, fuzz, originals, poolers, settings
from tests.cases.report import Report
from tests.cases.scene import OddScene, odd_scene


@pytest.fixture(scope="module")
def scene(postgres: Postgres) -> Iterator[OddScene]:
    """Good rows and an odd one, in a database of this module's own."""
    with odd_scene(postgres) as made:
        yield made


@pytest.mark.parametrize(("program", "number"), [("process", 200), ("operator", 60), ("cleanup", 40), ("migrate", 30)])
def test_no_value_in_one_row_stops_another(scene: OddScene, program: str, number: int) -> None:
    """With any value of a column in one row, the program ends well and does its work for every other row."""
    report = Report("columns")

    columns.run(scene, report, columns.cases(scene, number, 1, f"{program}: "))

    assert report.tried[program] > number / 2
    assert not report.failures, report.text()


def test_no_value_in_a_row_of_the_predecessor_stops_the_migration(scene: OddScene) -> None:
    """With any value in the predecessor's tables, all migrations are applied, and good rows after that."""
    report = Report("originals")

    with originals.template(scene) as url:
        originals.run(scene, report, originals.cases(url, 20, 1))

    assert not report.failures, report.text()


def test_no_setting_of_a_role_or_database_stops_or_fools_a_program(scene: OddScene) -> None:
    """With any settings of a role or database, each program does its work and reads the same values."""
    report = Report("settings")

    settings.run(scene, report, settings.cases(scene, 80, 1))

    assert not report.failures, report.text()


def test_nothing_left_in_a_poolers_session_stops_or_fools_a_program(postgres: Postgres, scene: OddScene) -> None:
    """In any session that another client of a pooler left, each program does its work and adds nothing to it."""
    report = Report("poolers")

    poolers.run(postgres, scene, report, poolers.cases(scene, 60, 1))

    assert not report.failures, report.text()


@pytest.mark.parametrize("each", fuzz.PROPERTIES, ids=lambda each: each.name)
def test_a_property_holds_for_all_that_others_write(scene: OddScene, each: fuzz.Property) -> None:
    """Keys, names, updates and URLs of any kind raise no foreign error, leak nothing and break no line of the log."""
    assert fuzz.failure(each, int(1000 * each.weight), 1, scene) is None


def test_a_cron_step_is_what_a_clock_shows_in_each_minute_of_a_year() -> None:
    """Starts and ends of steps over a whole year are those found by looking at a clock of the zone each minute."""
    report = Report("calendars")

    calendars.run(report, calendars.cases("Lord_Howe 2028"), 5, 1)

    assert report.tried["Australia/Lord_Howe"] == 5
    assert not report.failures, report.text()
