"""The command `python -m tests.cases`: looks for values, settings and words that stop or fool a program."""

import argparse
import ctypes
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dev.localkind.servers.postgres import Postgres
from tests import roles
from tests.cases import calendars, columns, fuzz, objects, originals, plans, poolers, report, settings
from tests.cases.report import Report
from tests.cases.scene import OddScene, odd_scene
from tests.neighbours.world import world

_FUZZ: Final = 10_000
_STEPS: Final = 1000
_OPERATIONS: Final = 300
_PR_SET_PDEATHSIG: Final = 1
_WHOLE: Final = {"fuzz", "objects"}  # a search that looks for the smallest counterexample; one cluster


@contextmanager
def _scene() -> Iterator[tuple[Postgres, OddScene]]:
    with Postgres() as server:
        roles.create(server)
        with odd_scene(server) as scene:
            yield server, scene


def _columns(given: argparse.Namespace, found: Report) -> None:
    with _scene() as (_, scene):
        columns.run(scene, found, columns.cases(scene, given.cases, given.seed, given.only))


def _originals(given: argparse.Namespace, found: Report) -> None:
    with _scene() as (_, scene), originals.template(scene) as url:
        originals.run(scene, found, originals.cases(url, given.cases, given.seed, given.only))


def _settings(given: argparse.Namespace, found: Report) -> None:
    with _scene() as (_, scene):
        settings.run(scene, found, settings.cases(scene, given.cases, given.seed, given.only))


def _poolers(given: argparse.Namespace, found: Report) -> None:
    with _scene() as (server, scene):
        poolers.run(server, scene, found, poolers.cases(scene, given.cases, given.seed, given.only))


def _objects(given: argparse.Namespace, found: Report) -> None:
    with world() as on:
        objects.run(on, found, given.cases, given.seed, given.only)


def _fuzz(given: argparse.Namespace, found: Report) -> None:
    with _scene() as (_, scene):
        for each in fuzz.PROPERTIES:
            number = int((given.cases or _FUZZ) * each.weight)
            if given.only in each.name:
                found.many(each.name, number, fuzz.failure(each, number, given.seed, scene))


def _calendars(given: argparse.Namespace, found: Report) -> None:
    calendars.run(found, calendars.cases(given.only), given.cases or _STEPS, given.seed)


def _plans(given: argparse.Namespace, found: Report) -> None:
    with Postgres() as server:
        roles.create(server)
        plans.run(server, found, given.cases or _OPERATIONS)


_SERIES: Final[dict[str, Callable[[argparse.Namespace, Report], None]]] = {
    "columns": _columns,
    "originals": _originals,
    "settings": _settings,
    "poolers": _poolers,
    "fuzz": _fuzz,
    "objects": _objects,
    "calendars": _calendars,
    "plans": _plans,
}


def _try(name: str, given: argparse.Namespace) -> Report:
    sys.stdout.write(f"{name}: seed {given.seed}\n")
    sys.stdout.flush()
    found = Report(name, given.seed)
    since = time.monotonic()
    try:
        if name in _WHOLE or given.workers == 1:
            _SERIES[name](given, found)
        else:
            _try_parts(name, given, found)
    finally:
        found.seconds = time.monotonic() - since
        sys.stdout.write(found.text() + "\n")
        sys.stdout.flush()
    if given.into:
        report.keep(given.into, found)
    return found


def _try_parts(name: str, given: argparse.Namespace, found: Report) -> None:
    """Try a part in each worker, a process with servers of its own."""
    with ProcessPoolExecutor(given.workers, multiprocessing.get_context("fork"), _end_with_parent) as pool:
        parts = [pool.submit(_try_part, name, given, part) for part in range(given.workers)]
        for part in as_completed(parts):
            found.add(part.result())


def _end_with_parent() -> None:
    """Leave no worker, and so no server, behind a command that was killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _try_part(name: str, given: argparse.Namespace, part: int) -> Report:
    found = Report(name, given.seed, part, given.workers)
    _SERIES[name](given, found)
    return found


def main() -> int:
    """Run the series; 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("series", choices=[*_SERIES], nargs="+")
    parser.add_argument(
        "--cases",
        type=int,
        metavar="N",
        help=f"how many; without it all, and {_FUZZ:,} of fuzz, {_STEPS:,} of calendars, {_OPERATIONS} of plans",
    )
    parser.add_argument("--only", default="", metavar="WORDS", help="only cases whose names hold these words")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="S", help="which of them")  # noqa: S311 -- a choice, no secret
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes at a time, one a core by default",
    )
    parser.add_argument("--into", type=Path, metavar="PAGE", help="write the counts into the table of this page")
    given = parser.parse_args()
    found = [_try(name, given) for name in given.series]
    return int(any(each.failures for each in found))


if __name__ == "__main__":
    sys.exit(main())
