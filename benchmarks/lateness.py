"""How late changes are made, and what that costs: the CronJob's pods on a real cluster, with rows due all the time.

The rows are inserted as the operator would: how late they are applied does not depend on where they come from.
A row is as late as the time that stands in it: that of the transaction which applied it.
"""

import math
import os
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

import psycopg

from benchmarks.pods import CRONJOB, Place, Used, Watch, place
from benchmarks.results import Result
from benchmarks.scene import Scene
from dev.localkind import kind_binary

_MB = 1e6
_SETTLED = timedelta(seconds=5)  # after the minute in which the first runs begin
_PATIENCE = 90.0  # seconds after the last one was due


@dataclass(frozen=True)
class Case:
    """A way to run the processor."""

    linger: int
    policy: Literal["Forbid", "Allow"]

    @property
    def name(self) -> str:
        """For the table."""
        return f"LINGER_SECONDS {self.linger}, {self.policy}"

    @property
    def namespace(self) -> str:
        """Its place in the cluster, and its database."""
        return f"linger-{self.linger}-{self.policy.lower()}"


@dataclass(frozen=True)
class Size:
    """How long, which ways at once, how many are due in a minute, half of them on the minute; and how many runs alone.

    Attributes:
        starts: runs with nothing due, one after the other, before the minutes begin.
        due: schedules that are due in one more run.
    """

    minutes: int
    cases: tuple[Case, ...]
    per_minute: int = 120
    starts: int = 10
    due: int = 20_000


QUICK = Size(minutes=2, cases=(Case(55, "Forbid"),), starts=3, due=2000)
FULL = Size(minutes=10, cases=(Case(0, "Forbid"), Case(55, "Forbid"), Case(55, "Allow"), Case(65, "Allow")))


def run(size: Size, say: Callable[[str], None]) -> Iterator[Result]:
    """Measure runs alone first, then the cases at the same time.

    Their pods start in the same moment: on two cores, four begin a second later than one. The load average hides that;
    the time from the minute to the first statement shows it, and so does what is due on the minute where runs pause.
    """
    with place(say) as on:
        if not kind_binary.is_own():
            say("runs alone, CPU and memory are left out: the control groups of kind's pods are not known")
        elif size.starts:
            yield from _alone(on, size, say)
        if size.cases:
            yield from _minutes(on, size, say)


def _alone(on: Place, size: Size, say: Callable[[str], None]) -> Iterator[Result]:
    say(f"alone: {size.starts} runs with nothing due, and one with {size.due:,}")
    with on.installed({"alone": {"suspend": True, "lingerSeconds": 0}}) as scenes, Watch(on.name, every=0.01) as watch:
        idle = [_run_alone(on, scenes["alone"], watch) for _ in range(size.starts)]
        scenes["alone"].fill(size.due)
        busy, _ = _run_alone(on, scenes["alone"], watch)
        assert scenes["alone"].left() == 0
    yield Result("pod with nothing due, process start to the end of its first look", "s", [at for _, at in idle])
    yield Result("pod with nothing due, process start to its end", "s", [_lifetime(used) for used, _ in idle])
    yield from _used("pod with nothing due", [used for used, _ in idle])
    yield from _used(f"pod with {size.due:,} due", [busy])


def _run_alone(on: Place, scene: Scene, watch: Watch) -> tuple[Used, float]:
    """Run once from the CronJob's template. Returns: what it used, and the seconds from its start to its finish."""
    number = len(watch.pods)
    source = (f"--from=cronjob/{CRONJOB}", "--namespace=alone")
    on.kubectl("create", "job", f"run-{number}", *source)
    deadline = time.monotonic() + _PATIENCE
    while len(watch.pods) == number or not (used := [*watch.pods.values()][-1]).ended:
        assert time.monotonic() < deadline, "the run has not ended"
        time.sleep(0.01)
    last = "SELECT extract(epoch FROM finished_at)::float FROM flag_schedule_runs ORDER BY id DESC LIMIT 1"
    [(finished,)] = scene.session.execute(last).fetchall()
    time.sleep(0.5)  # the next one does not start while the kubelet cleans up
    assert used.started
    return used, finished - used.started


def _lifetime(used: Used) -> float:
    assert used.started
    assert used.ended
    return used.ended - used.started


@dataclass
class _Samples:
    """What was seen each second, by database."""

    load: list[float] = field(default_factory=list)
    connections: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    commits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def _minutes(on: Place, size: Size, say: Callable[[str], None]) -> Iterator[Result]:
    names = ", ".join(case.name for case in size.cases)
    say(f"{size.minutes} minutes, {size.per_minute} due in each, half of them on the minute: {names}")
    values = {case.namespace: {"lingerSeconds": case.linger, "concurrencyPolicy": case.policy} for case in size.cases}
    with on.installed(values) as scenes:
        first = _next_minute()
        for scene in scenes.values():
            _plan(scene, first, size)
        with Watch(on.name, every=0.2) as watch:
            _sleep_until(first + _SETTLED)
            samples = _sample(on, scenes, first + timedelta(minutes=size.minutes))
        owners = on.pods()
        yield Result(f"load average of the machine meanwhile, {names}", "processes", samples.load)
        for case in size.cases:
            yield from _lateness(case, scenes[case.namespace], say)
            yield from _runs(case, scenes[case.namespace])
            used = [used for pod, used in watch.pods.items() if owners.get(pod) == case.namespace and used.ended]
            yield from _cost(case, used, samples)


def _next_minute() -> datetime:
    """Return the next minute that the CronJobs cannot miss."""
    soon = datetime.now(UTC) + timedelta(seconds=65)
    return soon.replace(second=0, microsecond=0)


def _plan(scene: Scene, first: datetime, size: Size) -> None:
    """Insert half of the rows exactly on each minute, half spread evenly over the time."""
    half, seconds = size.per_minute // 2, 60 * size.minutes - _SETTLED.seconds
    chance = random.Random(1)  # noqa: S311 -- the same times in every run
    exact = [first + timedelta(minutes=minute) for minute in range(1, size.minutes + 1) for _ in range(half)]
    count = half * size.minutes
    spread = [first + _SETTLED + timedelta(seconds=(n + chance.random()) * seconds / count) for n in range(count)]
    scene.session.execute(
        """
        INSERT INTO feature_flag_schedules (id, flag_id, scheduled_at, updates)
        SELECT uuidv7(), f.id, t.due, jsonb_build_object('enabled', mod(n, 2) = 0, 'rolloutPercentage', mod(n, 101))
        FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS t (due, n)
        JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM feature_flags) AS f USING (n)
        """,
        [exact + spread],
    )


def _sample(on: Place, scenes: dict[str, Scene], until: datetime) -> _Samples:
    """Look each second until then, and then until nothing is left."""
    samples = _Samples()
    connections = "SELECT datname FROM pg_stat_activity WHERE application_name = 'flagschedule-processor'"
    commits = "SELECT datname, xact_commit FROM pg_stat_database WHERE datname = ANY (%s)"
    last = until + timedelta(seconds=_PATIENCE)
    with psycopg.connect(on.postgres.url, autocommit=True) as session:
        while (now := datetime.now(UTC)) < last:
            if now > until and not any(map(Scene.left, scenes.values())):
                return samples
            if now <= until:
                samples.load.append(os.getloadavg()[0])
                held = [name for (name,) in session.execute(connections)]
                for name in scenes:
                    samples.connections[name].append(held.count(name))
                for name, count in session.execute(commits, [[*scenes]]):
                    samples.commits[name].append(count)
            _sleep_until(now + timedelta(seconds=1))
    raise AssertionError("not all were applied in time")


def _lateness(case: Case, scene: Scene, say: Callable[[str], None]) -> Iterator[Result]:
    rows = scene.session.execute(
        "SELECT scheduled_at, applied_at, extract(epoch FROM applied_at - scheduled_at)::float "
        "FROM feature_flag_schedules ORDER BY 3 DESC"
    ).fetchall()
    late = [(seconds, due.second == due.microsecond == 0) for due, _, seconds in rows]
    for part, figures in {
        "": [seconds for seconds, _ in late],
        ", spread over the time": [seconds for seconds, exact in late if not exact],
        ", on the minute": [seconds for seconds, exact in late if exact],
    }.items():
        yield Result(f"lateness, {case.name}{part}", "s", figures, series=None if part else "lateness")
        yield Result(f"lateness, {case.name}{part}: 99 of 100 at most", "s", [_quantile(figures, 0.99)])
    due, applied, _ = rows[0]
    say(f"{case.name}: the latest was due at {due:%H:%M:%S.%f} and applied at {applied:%H:%M:%S.%f}")


def _quantile(figures: list[float], part: float) -> float:
    return sorted(figures)[math.ceil(part * len(figures)) - 1]


def _runs(case: Case, scene: Scene) -> Iterator[Result]:
    """Yield the starts of runs after their minute, and the gaps between runs: less than zero where they overlap."""
    runs = scene.session.execute("SELECT started_at, finished_at FROM flag_schedule_runs ORDER BY id").fetchall()
    began = [_second(started) for started, _ in runs]
    yield Result(f"from the minute to the run's first statement, {case.name}", "s", began)
    if case.linger:
        pauses = [(started - ended).total_seconds() for (_, ended), (started, _) in pairwise(runs) if ended]
        yield Result(f"pause between runs, {case.name}", "s", pauses)


def _second(at: datetime) -> float:
    return at.second + at.microsecond / 1e6


def _cost(case: Case, used: list[Used], samples: _Samples) -> Iterator[Result]:
    held = samples.connections[case.namespace]
    yield Result(f"connections held on average, {case.name}", "connections", [statistics.mean(held)])
    commits = samples.commits[case.namespace]
    per_minute = [60 * (commits[-1] - commits[0]) / (len(commits) - 1)]
    yield Result(f"transactions of the database in a minute, {case.name}", "1/min", per_minute)
    if used:
        yield from _used(f"pod, one a minute, {case.name}", used)


def _used(whose: str, used: list[Used]) -> Iterator[Result]:
    yield Result(f"{whose}, CPU", "s", [each.cpu for each in used])
    yield Result(f"{whose}, peak of its control group", "MB", [each.memory / _MB for each in used])
    yield Result(f"{whose}, peak of its process (VmHWM)", "MB", [each.resident / _MB for each in used])


def _sleep_until(at: datetime) -> None:
    time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))
