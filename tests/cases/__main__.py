"""The command `python -m tests.cases`: looks for values, settings and words that stop a program."""

import argparse
import random
import sys

from dev.parts.postgres import Postgres
from tests import roles
from tests.cases import columns, fuzz
from tests.cases.report import Report
from tests.cases.scene import odd_scene


def _columns(number: int | None, seed: int) -> Report:
    report = Report("columns")
    with Postgres() as server:
        roles.create(server)
        with odd_scene(server) as scene:
            columns.run(scene, report, columns.sample(scene, number, seed))
    return report


def _fuzz(number: int | None, seed: int) -> Report:
    report = Report("fuzz")
    with Postgres() as server:
        roles.create(server)
        with odd_scene(server) as scene:
            for each in fuzz.PROPERTIES:
                cases = int((number or 10_000) * each.weight)
                report.many(each.name, cases, fuzz.failure(each, cases, seed, scene))
    return report


_SERIES = {"columns": _columns, "fuzz": _fuzz}


def main() -> int:
    """Run one series; 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("series", choices=[*_SERIES])
    parser.add_argument("--cases", type=int, metavar="N", help="how many; without it, all that there are")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="S", help="which of them")  # noqa: S311 -- a choice, no secret
    given = parser.parse_args()
    sys.stdout.write(f"{given.series}: seed {given.seed}\n")
    return _SERIES[given.series](given.cases, given.seed).show()


if __name__ == "__main__":
    sys.exit(main())
