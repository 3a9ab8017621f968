"""A bounded part of the cases by machine; `python -m tests.cases` tries all of them."""

from collections.abc import Iterator

import pytest

from dev.parts.postgres import Postgres
from tests.cases import columns, fuzz, settings
from tests.cases.report import Report
from tests.cases.scene import OddScene, odd_scene


@pytest.fixture(scope="module")
def scene(postgres: Postgres) -> Iterator[OddScene]:
    """Good rows and an odd one, in a database of this module's own."""
    with odd_scene(postgres) as made:
        yield made


@pytest.mark.parametrize(("program", "number"), [("process", 200), ("cleanup", 50), ("migrate", 50)])
def test_no_value_in_one_row_stops_another(scene: OddScene, program: str, number: int) -> None:
    """Whatever a column holds in one row, the program ends well and does its work for every other row."""
    report = Report("columns")

    columns.run(scene, report, columns.sample(scene, number, 1, f"{program}: "))

    assert report.tried[program] > number / 2
    assert not report.failures, report.text()


def test_no_setting_of_a_role_stops_or_fools_a_program(scene: OddScene) -> None:
    """Whatever settings a role carries into its sessions, each program does its work and reads the same values."""
    report = Report("settings")

    settings.run(scene, report, settings.cases(scene, 80, 1))

    assert not report.failures, report.text()


@pytest.mark.parametrize("each", fuzz.PROPERTIES, ids=lambda each: each.name)
def test_a_property_holds_for_whatever_others_write(scene: OddScene, each: fuzz.Property) -> None:
    """Keys, names, updates and URLs of any kind raise no foreign error, leak nothing and break no line of the log."""
    assert fuzz.failure(each, int(1000 * each.weight), 1, scene) is None
