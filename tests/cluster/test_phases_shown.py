"""What `kubectl get` shows in README.md and docs/reference/state-machine.md is what a real API server prints.

`UPDATE_DOCS=1` rewrites both pages instead of comparing them.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from dev.localkind.control_plane import ControlPlane
from flagschedule.domain.schedule import Phase
from tests.cluster import walks
from tests.cluster.conftest import ROOT
from tests.cluster.operator_fixtures import Scene
from tests.cluster.walks import Walk, Walker

pytestmark = pytest.mark.apiserver

# Times of the test are replaced by times of the page. Objects must be in the future, so the test uses 2035.
_MOMENT: Final = re.compile(r"(the next attempt is due at )?(\d{4}-)(\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_README: Final = ("checkout-v2-launch", "checkout-v2-to-50", "search-ranking-off")


def cast(scene: Scene) -> dict[Walker, Walk]:
    """Return one object for each phase, as a shop could have them."""

    def walker(name: str, flag: str, at: str, **updates: object) -> Walker:
        return Walker(scene, name, flag, scheduledAt=f"2035-12-{at}:00:00Z", updates=updates)

    expired = Walker(scene, "old-menu-off", "old-menu", updates={"enabled": False})
    frozen = walker("gift-cards-launch", "gift-cards", "01T09", enabled=True)
    frozen.freeze_name = "incident-4711"
    return {
        walker("checkout-v2-launch", "checkout-v2", "01T09", enabled=True, rolloutPercentage=25): walks.applied,
        walker("checkout-v2-to-50", "checkout-v2", "02T09", rolloutPercentage=50): _planned,
        walker("search-ranking-off", "search-ranking", "03T22", enabled=False): walks.waiting,
        walker("dark-mode-launch", "dark-mode", "04T09", enabled=True): walks.suspended,
        walker("new-prices-launch", "new-prices", "01T09", enabled=True): walks.retrying,
        walker("banner-to-10", "banner", "01T08", rolloutPercentage=10): walks.superseded,
        walker("footer-to-50", "footer", "01T09", rolloutPercentage=50): walks.skipped,
        frozen: walks.frozen,
        walker("summer-sale-end", "summer-sale", "05T23", enabled=False): walks.cancelled,
        walker("beta-invites-on", "beta-invites", "01T09", enabled=True): walks.failed,
        expired: walks.expired,
        walker("maps-launch", "maps", "06T09", enabled=True): walks.invalid,
    }


def _planned(walker: Walker) -> Iterator[walks.Seen]:
    """Pending; another object's walk has made the flag."""
    walker.create()
    yield walks.Seen("Pending")


@pytest.fixture
def tables(
    installed: ControlPlane,
    loosened: None,  # noqa: ARG001 -- must come before the operator, whose watch ends when the schema changes
    scene: Scene,
) -> tuple[list[list[str]], list[list[str]]]:
    """The cells of `kubectl get` and of `-o wide` in a namespace in which all phases occur."""
    walks.prepare(scene)
    walks.walk_all(scene, cast(scene))
    scene.operator.stop()
    walks.end_freezes(scene)
    place = f"--namespace={scene.api.namespace}"
    # A walk moves rows in the database so that they are processed; the page shows the objects' times.
    planned = {name: obj["spec"]["scheduledAt"] for name, obj in scene.api.list().items()}
    return cells(installed.kubectl("get", "fsched", place), planned), cells(
        installed.kubectl("get", "fsched", "--output=wide", place), planned
    )


def cells(table: str, planned: Mapping[str, str]) -> list[list[str]]:
    """Header and rows, ages and moments replaced."""
    lines = table.splitlines()
    starts = [found.start() for found in re.finditer(r"\S+", lines[0])]
    rows = [[line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)] for line in lines]
    age, scheduled = rows[0].index("AGE"), rows[0].index("SCHEDULED")
    for row in rows[1:]:
        assert re.fullmatch(r"(\d+[smh])+", row[age])
        row[age] = "8d"
        is_future = planned[row[0]].startswith("2035")
        if row[scheduled]:  # an object that cannot be understood has none
            row[scheduled] = planned[row[0]]
        row[:] = [_MOMENT.sub(of_the_page, cell) for cell in row]
        if not is_future:
            row[scheduled] = "2026-11-23T09:00:00Z"
    return rows


def of_the_page(moment: re.Match[str]) -> str:
    """Return a moment of the test, as the page shows it."""
    if moment[2] == "2035-":
        return f"2026-{moment[3]}"
    return "the next attempt is due at 2026-12-01T09:02:19Z" if moment[1] else "2026-12-01T09:00:01Z"


def laid_out(rows: Sequence[Sequence[str]]) -> str:
    """Return the table as kubectl aligns it."""
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    lines = ("".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def block(page: Path, name: str, text: str) -> tuple[str, str]:
    """Return what the page shows between its markers, and what it should; rewritten if UPDATE_DOCS is set."""
    whole = page.read_text()
    found = re.search(rf"<!-- {name} -->\n(.*)<!-- /{name} -->", whole, re.DOTALL)
    assert found, f"{page.name} has no markers {name}"
    wanted = f"```console\n{text}\n```\n"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(whole[: found.start(1)] + wanted + whole[found.end(1) :])
        return wanted, wanted
    return found[1], wanted


def test_the_pages_show_what_kubectl_prints(tables: tuple[list[list[str]], list[list[str]]]) -> None:
    """All phases stand on the page as a real API server prints them, and three of them in the README."""
    narrow, wide = tables
    assert {row[wide[0].index("PHASE")] for row in wide[1:]} == set(Phase)

    for page, name, command, rows in (
        ("docs/reference/state-machine.md", "phases", "kubectl get fsched --output=wide --namespace shop", wide),
        (
            "README.md",
            "columns",
            "kubectl get flagschedules --namespace shop",
            [narrow[0], *(row for row in narrow if row[0] in _README)],
        ),
    ):
        shown, printed = block(ROOT / page, name, f"$ {command}\n{laid_out(rows)}")
        assert shown == printed
