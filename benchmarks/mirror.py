"""The operator with many objects on a real API server, against the least that one would write in Go.

Each side has an API server and a database of its own in each round, and the operator's rights on both.
"""

import statistics
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import environments
from benchmarks.results import Result
from benchmarks.stage import Program, Stage, Watch, running, seconds_from_now, stage
from tests import roles
from tests.cluster.operator_fixtures import free_port

_YARDSTICK: Final = Path(__file__).parent / "programs" / "yardstick"
_HEAD_START: Final = 3.0  # seconds that the processor waits for the moment when much becomes due

_ADOPTION: Final = "adoption of all, from process start"
_DUE: Final = "from due to Applied, the last one"

Figure = tuple[str, str, float]  # name, unit, value


@dataclass(frozen=True)
class Size:
    """How much each round does: objects that are there at the start, that are due at once, that flood a namespace.

    `at_once` is how many objects the yardstick reconciles at a time; with 10 it is a few per cent slower.
    """

    objects: int = 10_000
    due: int = 2_000
    flood: int = 2_000
    rounds: int = 2
    at_once: int = 50


QUICK = Size(objects=500, due=100, flood=500, rounds=1)
FULL = Size()


def run(size: Size, say: Callable[[str], None]) -> Iterator[Result]:
    """Measure both sides in turn, round by round."""
    program = environments.go(_YARDSTICK)
    sides: dict[str, Callable[[Stage], Iterator[Figure]]] = {
        "operator": partial(_operator, size=size),
        "yardstick": partial(_yardstick, size=size, program=program),
    }
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(size.rounds):
        for side, measure in sides.items():
            say(f"round {number + 1} of {size.rounds}: {side} with {size.objects:,} objects")
            with stage() as on:
                for name, unit, figure in measure(on):
                    say(f"  {side}: {name} {figure:.3g} {unit}")
                    found[f"{side}: {name}", unit].append(figure)
    for (name, unit), figures in found.items():
        yield Result(name, unit, figures)
    for name in (_ADOPTION, _DUE):
        ours, other = (found[f"{side}: {name}", "s"] for side in sides)
        yield Result(
            f"{name}, time against the yardstick's", "ratio", [a / b for a, b in zip(ours, other, strict=True)]
        )


def _operator(on: Stage, *, size: Size) -> Iterator[Figure]:
    """Measure the program as it is shipped, with its defaults."""
    port = str(free_port())
    begin = partial(
        running,
        [sys.executable, "-m", "flagschedule", "operator"],
        {**_environment(on), "FLAG_SCHEDULE_PROBE_PORT": port},
    )
    on.create("many", size.objects)
    watch = Watch(on)
    with begin() as program:
        yield from _adoption(on, watch, program, size)
    before = on.patches()
    with begin() as program:
        yield from _restart(program, port, size)
        yield "restart, PATCHes", "", on.patches() - before
        yield from _due(on, watch, program, size)
        yield from _fairness(on, watch, program, size)


def _yardstick(on: Stage, *, size: Size, program: Path) -> Iterator[Figure]:
    on.create("many", size.objects)
    watch = Watch(on)
    with running([str(program), f"--at-once={size.at_once}"], _environment(on)) as process:
        yield from _adoption(on, watch, process, size)
        yield from _due(on, watch, process, size)


def _environment(on: Stage) -> dict[str, str]:
    return {"KUBECONFIG": str(on.kubeconfig), "DATABASE_URL": roles.url(on.database.url, "operator")}


def _adoption(on: Stage, watch: Watch, program: Program, size: Size) -> Iterator[Figure]:
    """Measure objects that were there before: until all show a phase, and until nothing is left to do."""
    before = on.patches()
    seconds = watch.times("many", "Pending", size.objects, program)[-1] - program.started
    assert on.rows() == size.objects
    yield _ADOPTION, "s", seconds
    yield "adoption, objects per second", "1/s", size.objects / seconds
    program.settle()
    yield "adoption, PATCHes per object", "", (on.patches() - before) / size.objects
    yield "adoption, CPU per object", "ms", 1000 * program.cpu() / size.objects
    yield "adoption, peak memory", "MB", program.peak()


def _restart(program: Program, port: str, size: Size) -> Iterator[Figure]:
    """Measure a start with everything in order: until all was compared, and until nothing is left to do."""
    while not _is_ready(port):
        time.sleep(0.1)
    yield "restart, until ready: all compared", "s", time.time() - program.started
    yield "restart, until idle", "s", program.settle() - program.started
    yield "restart, CPU per object", "ms", 1000 * program.cpu() / size.objects
    yield "restart, peak memory", "MB", program.peak()


def _is_ready(port: str) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10).close()
    except OSError:  # it is still starting, or answers that it is not ready
        return False
    return True


def _due(on: Stage, watch: Watch, program: Program, size: Size) -> Iterator[Figure]:
    """Many are due at the same moment, with a processor at work: until each of them shows that it was applied."""
    due = seconds_from_now(10 + size.due / 25)
    on.create("due", size.due, due.strftime("%Y-%m-%dT%H:%M:%SZ"))
    watch.times("due", "Pending", size.due, program)
    wait = due.timestamp() - time.time() - _HEAD_START
    assert wait > 0, "they were not mirrored in time"
    time.sleep(wait)
    environment = {
        "DATABASE_URL": roles.url(on.database.url, "process"),
        "FLAG_SCHEDULE_LINGER_SECONDS": "600",
    }
    with running([sys.executable, "-m", "flagschedule", "process"], environment):
        late = [at - due.timestamp() for at in watch.times("due", "Applied", size.due, program)]
    yield "from due to Applied, p50", "s", statistics.median(late)
    yield "from due to Applied, p99", "s", statistics.quantiles(late, n=100)[-1]
    yield _DUE, "s", late[-1]
    yield "statuses of what was applied, per second", "1/s", (size.due - 1) / (late[-1] - late[0])


def _fairness(on: Stage, watch: Watch, program: Program, size: Size) -> Iterator[Figure]:
    """Measure one object of a namespace that comes right after a flood in another one."""
    began = min(on.create("flood", size.flood))
    (created,) = on.create("lone", 1)
    (seen,) = watch.times("lone", "Pending", 1, program)
    flooded = watch.times("flood", "Pending", size.flood, program)[-1] - began
    yield f"a flood of {size.flood:,} objects, until all are mirrored", "s", flooded
    yield "one object right behind it in another namespace", "s", seen - created
