"""The processor against a ceiling and the former way, and against itself under harder conditions."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import psycopg

from benchmarks import sides
from benchmarks.results import Result
from benchmarks.scene import Scene, scene


@dataclass(frozen=True)
class Size:
    """How much each benchmark does: schedules that are due, rows of history, and rounds."""

    due: int = 20_000
    history: int = 1_000_000
    rounds: int = 4


_HOT = 400  # flags, of which the application deletes half
QUICK = Size(due=5_000, history=100_000, rounds=3)
FULL = Size()


def run(size: Size, say: Callable[[str], None]) -> Iterator[Result]:
    """Measure each on one server, one after the other."""
    with scene() as on:
        for benchmark in (_against, _two, _held_snapshot, _bad_rows, _idle, _client):
            say(f"{benchmark.__name__.strip('_')}: {(benchmark.__doc__ or '').strip()}")
            yield from benchmark(on, size)
    with scene(_HOT) as on:
        say(f"application: {(_application.__doc__ or '').strip()}")
        yield from _application(on, size)


def _against(on: Scene, size: Size) -> Iterator[Result]:
    """Measure the product, also held to one connection, the ceiling with known ids, and the row-by-row way."""
    found: dict[str, list[float]] = defaultdict(list)
    rates: list[float] = []
    for _ in range(size.rounds):
        ours = _rate(on, size, sides.product)
        one = _rate(on, size, partial(sides.product, FLAG_SCHEDULE_CONCURRENCY="1"))
        known = _rate(on, size, sides.known_ids)
        # Its rate does not depend on the number of rows, and it is slow.
        rows = _rate(on, Size(due=max(size.due // 10, 100)), sides.row_by_row)
        rates.append(ours)
        found["drain, rate against known ids"].append(ours / known)
        found["drain on one connection, rate against known ids"].append(one / known)
        found["drain, rate against one connection"].append(ours / one)
        found["drain, rate against row by row"].append(ours / rows)
    yield Result("drain, schedules per second", "1/s", rates)
    for name, ratios in found.items():
        yield Result(name, "ratio", ratios)


def _two(on: Scene, size: Size) -> Iterator[Result]:
    """Measure two processors at once, and two clients of the least statement, against the ceiling with two clients."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(size.rounds):
        known = _rate(on, size, sides.known_ids_by_two)
        found["drain by two processors, rate against known ids by two"].append(
            _rate(on, size, sides.two_products) / known
        )
        found["drain by two clients of the least statement, rate against known ids by two"].append(
            _rate(on, size, sides.least_by_two) / known
        )
    for name, ratios in found.items():
        yield Result(name, "ratio", ratios)


def _held_snapshot(on: Scene, size: Size) -> Iterator[Result]:
    """Twice as much, with an old snapshot held by another client, against the same without."""
    twice = replace(size, due=2 * size.due)
    ratios = []
    for _ in range(size.rounds):
        free = _rate(on, twice, sides.product)
        ratios.append(_rate(on, twice, partial(_with_a_snapshot, sides.product)) / free)
    yield Result("drain with a snapshot held since before, rate against none", "ratio", ratios)


def _with_a_snapshot(side: Callable[[Scene], sides.Drained], on: Scene) -> sides.Drained:
    with psycopg.connect(on.url) as client:
        client.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        client.execute("SELECT count(*) FROM feature_flags")
        return side(on)


def _bad_rows(on: Scene, size: Size) -> Iterator[Result]:
    """Measure rates with 1 % and 10 % of the rows bad, against none."""
    found: dict[float, list[float]] = {0.01: [], 0.1: []}
    for _ in range(size.rounds):
        clean = _rate(on, size, sides.product)
        for part, ratios in found.items():
            ratios.append(_rate(on, size, sides.product, bad=part) / clean)
    for part, ratios in found.items():
        yield Result(f"drain with {part:.0%} bad rows, rate against none", "ratio", ratios)


def _application(on: Scene, size: Size) -> Iterator[Result]:
    """Measure four runs over few flags, a fifth of the schedules retries, with an application at work, against none."""
    ratios = []
    for _ in range(size.rounds):
        on.fill(size.due, retries=0.2)
        alone = sides.four_products(on)
        assert (alone.schedules, on.left()) == (size.due, 0)
        on.fill(size.due, retries=0.2)
        loaded = sides.four_products_with_an_application(on)
        assert on.left() == 0
        on.add_flags()
        ratios.append(loaded.schedules / loaded.seconds / (alone.schedules / alone.seconds))
    assert on.deadlocks() == 0
    yield Result(f"drain by four over {_HOT} flags with an application at work, rate against none", "ratio", ratios)


def _idle(on: Scene, size: Size) -> Iterator[Result]:
    """Measure a run with nothing due, behind much history: its own duration, and from process start to end."""
    on.fill(0, history=size.history, future=size.history // 100)
    durations, whole = [], []
    for _ in range(size.rounds):
        started = time.monotonic()
        durations.append(1000 * sides.product(on).seconds)
        whole.append(time.monotonic() - started)
    yield Result(f"run with nothing due behind {size.history:,} rows, work", "ms", durations)
    yield Result("the same, from process start to its end", "s", whole)
    alone = [sides.driver_alone(on) for _ in range(size.rounds)]
    yield Result("a process that imports psycopg, connects and sends one query", "s", alone)


def _client(on: Scene, size: Size) -> Iterator[Result]:
    """CPU of the client for each schedule, its log line included and its start taken away; and of the barest loop."""
    found: dict[str, list[float]] = defaultdict(list)
    many = replace(size, due=10 * size.due)  # two starts differ by more than a few queries take
    for _ in range(size.rounds):
        on.fill(0)
        start = sides.product(on).cpu
        drained = _drained(on, many, sides.product)
        found["client's CPU for each schedule"].append(1e6 * (drained.cpu - start) / many.due)
        bare = _drained(on, size, sides.bare_loop)
        found["CPU of a bare loop around the driver on one connection, for each schedule"].append(
            1e6 * bare.cpu / size.due
        )
    for name, figures in found.items():
        yield Result(name, "us", figures)


def _rate(on: Scene, size: Size, side: Callable[[Scene], sides.Drained], *, bad: float = 0) -> float:
    return size.due / _drained(on, size, side, bad=bad).seconds


def _drained(on: Scene, size: Size, side: Callable[[Scene], sides.Drained], *, bad: float = 0) -> sides.Drained:
    on.fill(size.due, bad=bad)
    drained = side(on)
    assert drained.schedules == size.due, f"{drained.schedules} of {size.due}"
    assert on.left() == 0
    return drained
