"""The processor with much of everything: history, schedules due at once, flags, and changes of the same few flags."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import sides
from benchmarks.results import Result
from benchmarks.scene import Scene, scene
from flagschedule.adapters.postgres import statements

_LOOKS = 50  # one query is too short: the clock's resolution and the first read of a page would dominate


@dataclass(frozen=True)
class Size:
    """How much there is.

    Args:
        due: schedules that are due in each round.
        histories: rows of history among which they lie scattered.
        future: rows of the next days, behind the largest history.
        at_once: schedules that are due at the same moment, for several runs of the processor.
        few: so many flags that all of their changes meet.
        many: so many flags that hardly two changes meet.
        rounds: how often each is measured.
    """

    due: int = 20_000
    histories: tuple[int, ...] = (1_000_000, 5_000_000, 10_000_000)
    future: int = 100_000
    at_once: int = 1_000_000
    few: int = 20
    many: int = 200_000
    rounds: int = 4


QUICK = Size(due=5_000, histories=(100_000,), future=1_000, at_once=20_000, many=20_000, rounds=2)
FULL = Size()


def run(size: Size, say: Callable[[str], None]) -> Iterator[Result]:
    """Measure one after the other, each next to a plain scene of 5,000 flags without history."""
    with scene() as plain:
        for history in size.histories:
            say(f"history: {size.due:,} schedules due, scattered among {history:,} rows")
            with scene() as on:
                yield from _history(plain, on, size, history)
                if history == size.histories[-1]:
                    say(f"idle: looks with nothing due, behind {history:,} rows and before {size.future:,}")
                    yield from _idle(plain, on, size)
        for flags, name in ((size.few, "hot flags"), (size.many, "flags")):
            say(f"flags: {size.due:,} schedules of {flags:,} flags")
            with scene(flags) as on:
                ratios = [_rate(on, size) / _rate(plain, size) for _ in range(size.rounds)]
                yield Result(f"drain over {flags:,} {name}, rate against 5,000 flags", "ratio", ratios)
        say(f"at once: {size.at_once:,} schedules due at the same moment, run after run until nothing is left")
        yield from _at_once(plain, size)


def _history(plain: Scene, on: Scene, size: Size, history: int) -> Iterator[Result]:
    on.scatter(size.due, among=history)
    ratios = []
    for _ in range(size.rounds):
        alone = _rate(plain, size)
        with on.copy() as copy:
            ratios.append(_drained(copy, size.due) / alone)
    name = f"drain of {size.due:,} scattered among {history:,} rows, rate against none"
    yield Result(name, "ratio", ratios, series="history", at=history)


def _idle(plain: Scene, on: Scene, size: Size) -> Iterator[Result]:
    """Measure the queries of a lingering run by the database's own clock."""
    sides.product(on)
    on.add_future(size.future)
    plain.fill(0)
    for name, text in (
        (
            "is anything due",
            statements.anything_due(),
        ),
        ("the statement that applies", statements.plain_claim("process/apply", "process/claim_due")),
    ):
        rows = size.histories[-1]
        yield Result(
            f"idle look behind {rows:,} rows and before {size.future:,}: {name}",
            "ms",
            [_look(on, text) for _ in range(size.rounds)],
        )
        yield Result(f"the same behind none: {name}", "ms", [_look(plain, text) for _ in range(size.rounds)])


def _look(on: Scene, text: str) -> float:
    """Measure the milliseconds in the server, with a prepared plan."""
    on.session.execute("SET plan_cache_mode = force_generic_plan")
    found = []
    for _ in range(_LOOKS):
        ((plan,),) = on.session.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {text}".encode(),
            {
                "left_out": [],
                "run_id": 0,
                "since": "-infinity",
                "since_id": "00000000-0000-0000-0000-000000000000",
            },
        ).fetchall()
        found.append(float(plan[0]["Execution Time"]))
    return statistics.median(found)


def _at_once(on: Scene, size: Size) -> Iterator[Result]:
    on.fill(size.at_once)
    rates, peaks = [], []
    while on.left():
        drained = sides.product(on)
        rates.append(drained.schedules / drained.seconds)
        peaks.append(drained.peak)
    yield Result(f"drain of {size.at_once:,} that are due at once, schedules per second of each run", "1/s", rates)
    yield Result("the same, peak memory of each run", "MB", peaks)


def _rate(on: Scene, size: Size) -> float:
    on.fill(size.due)
    return _drained(on, size.due)


def _drained(on: Scene, due: int) -> float:
    drained = sides.product(on)
    assert drained.schedules == due, f"{drained.schedules} of {due}"
    return drained.schedules / drained.seconds
