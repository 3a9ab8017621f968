"""The command `python -m tests.cases`: looks for values, settings and words that stop a program."""

import argparse
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dev.parts.postgres import Postgres
from tests import roles
from tests.cases import columns, fuzz, objects, settings
from tests.cases.report import Report
from tests.cases.scene import OddScene, odd_scene
from tests.neighbours.world import world

_FUZZ = 10_000


@contextmanager
def _scene() -> Iterator[OddScene]:
    with Postgres() as server:
        roles.create(server)
        with odd_scene(server) as scene:
            yield scene


def _columns(given: argparse.Namespace, report: Report) -> None:
    with _scene() as scene:
        columns.run(scene, report, columns.sample(scene, given.cases, given.seed, given.only))


def _settings(given: argparse.Namespace, report: Report) -> None:
    with _scene() as scene:
        settings.run(scene, report, settings.cases(scene, given.cases, given.seed, given.only))


def _objects(given: argparse.Namespace, report: Report) -> None:
    with world() as on:
        objects.run(on, report, given.cases, given.seed, given.only)


def _fuzz(given: argparse.Namespace, report: Report) -> None:
    with _scene() as scene:
        for each in fuzz.PROPERTIES:
            number = int((given.cases or _FUZZ) * each.weight)
            if given.only in each.name:
                report.many(each.name, number, fuzz.failure(each, number, given.seed, scene))


_SERIES = {"columns": _columns, "settings": _settings, "objects": _objects, "fuzz": _fuzz}


def main() -> int:
    """Run one series; 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("series", choices=[*_SERIES])
    parser.add_argument("--cases", type=int, metavar="N", help=f"how many; without it all, and {_FUZZ:,} of fuzz")
    parser.add_argument("--only", default="", metavar="WORDS", help="only cases whose names hold these words")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="S", help="which of them")  # noqa: S311 -- a choice, no secret
    given = parser.parse_args()
    sys.stdout.write(f"{given.series}: seed {given.seed}\n")
    sys.stdout.flush()
    report = Report(given.series)
    try:
        _SERIES[given.series](given, report)
    finally:
        code = report.show()
    return code


if __name__ == "__main__":
    sys.exit(main())
