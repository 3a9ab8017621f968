"""Other job queues for Postgres, each doing what the product does for a schedule that is due.

They run from their own packages, tuned as their documentation advises; the programs are in `programs/`.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, LiteralString
from urllib.parse import quote

from benchmarks import environments, sides
from benchmarks.results import Result
from benchmarks.scene import Scene, scene
from dev.localkind import system

_PROGRAMS: Final = Path(__file__).parent / "programs"
# Each peer makes its jobs from the same rows that the product applies.
_DUE: Final = """
    CREATE VIEW due AS
    SELECT flag_id AS flag, (updates ->> 'enabled')::boolean AS enabled,
           (updates ->> 'rolloutPercentage')::integer AS rollout
    FROM feature_flag_schedules
    ORDER BY scheduled_at, id
"""
_UNCHANGED: Final = """
    SELECT count(DISTINCT flag) - count(DISTINCT flag) FILTER (
        WHERE updated_at > %s AND (feature_flags.enabled, rollout_percentage) = (due.enabled, rollout)
    )
    FROM due JOIN feature_flags ON feature_flags.id = due.flag
"""


@dataclass(frozen=True)
class Size:
    """How many schedules are due for the product, of which the peers get a part, and rounds."""

    due: int = 20_000
    rounds: int = 4


QUICK = Size(due=5_000, rounds=2)
FULL = Size()


@dataclass
class Peer:
    """Another queue, and what was measured.

    Args:
        name: what it is called.
        schema: where its tables are.
        part: it gets one of so many of the product's schedules, which is some seconds of work.
        command: its program, made ready to run.
    """

    name: str
    schema: str
    part: int
    command: Callable[[], list[str | Path]]
    version: str = ""
    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


def run(size: Size, say: Callable[[str], None]) -> Iterator[Result]:
    """Measure each of them right after the product, in each round."""
    peers = list(_ready(say))
    with scene() as on:
        on.session.execute(_DUE)
        for number in range(1, size.rounds + 1):
            for peer, command in peers:
                say(f"peers: round {number} of {size.rounds}, {peer.name}")
                ours = _ours(on, size.due)
                peer.rates.append(_theirs(on, size.due // peer.part, peer, command))
                peer.ratios.append(ours / peer.rates[-1])
    for peer, _ in peers:
        yield Result(f"drain, rate against {peer.name} {peer.version}", "ratio", peer.ratios)
        yield Result(f"{peer.name} {peer.version}, jobs per second", "1/s", peer.rates)


def _ready(say: Callable[[str], None]) -> Iterator[tuple[Peer, list[str | Path]]]:
    """Yield the peers that can run here, and how."""
    for peer in (
        Peer("Procrastinate", "procrastinate", 20, lambda: _python("procrastinate_peer.py")),
        Peer("pgqueuer", "pgqueuer", 4, lambda: _python("pgqueuer_peer.py")),
        Peer("graphile-worker", "graphile_worker", 2, lambda: _node("graphile.mjs")),
        Peer("pg-boss", "pgboss", 2, lambda: _node("pgboss.mjs")),
        Peer("River", "river", 2, lambda: [environments.go(_PROGRAMS / "river")]),
    ):
        try:
            yield peer, peer.command()
        except system.ClusterError as reason:
            say(f"peers: {peer.name} is left out: {reason}")


def _python(program: str) -> list[str | Path]:
    return [environments.python(), _PROGRAMS / program]


def _node(program: str) -> list[str | Path]:
    return ["node", environments.node(_PROGRAMS / "node") / program]


def _ours(on: Scene, due: int) -> float:
    on.fill(due)
    drained = sides.product(on)
    assert drained.schedules == due
    return drained.schedules / drained.seconds


def _theirs(on: Scene, jobs: int, peer: Peer, command: list[str | Path]) -> float:
    """Return the rate that the program prints: from the start of its first job to the end of its last one.

    That is in its favour: the product's time begins before its first claim.
    """
    on.fill(jobs)
    on.session.execute(f"DROP SCHEMA IF EXISTS {peer.schema} CASCADE; CREATE SCHEMA {peer.schema}".encode())
    since = _value(on, "SELECT clock_timestamp()")
    url = f"{on.url}?options={quote(f'-c search_path={peer.schema},public')}"
    done = subprocess.run(
        # The kernel kills it when our process ends, even by SIGKILL.
        ["setpriv", "--pdeathsig", "KILL", *command, url],
        env={"PATH": system.PATH},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["jobs"] == jobs
    assert _value(on, _UNCHANGED, since) == 0
    on.session.execute(f"DROP SCHEMA {peer.schema} CASCADE".encode())
    peer.version = printed["version"]
    return float(printed["jobs"] / printed["seconds"])


def _value(on: Scene, query: LiteralString, *values: object) -> object:
    row = on.session.execute(query, values).fetchone()
    assert row
    return row[0]
