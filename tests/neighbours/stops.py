"""Stops that were given in time, while many objects of another flag wait for its lock: is each of them kept?

In each round another program holds flag Y, so many objects of Y are created, and three objects of other flags, which
are due soon, are suspended, cancelled and deleted three seconds before their time.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg

from tests.neighbours.matrix import p99
from tests.neighbours.operations import EDITS, committed
from tests.neighbours.world import NOISY, World, until, world

_AHEAD: Final = 3.0  # seconds from the stop to the change
_IN_TIME: Final = 1.5  # seconds; a stop that is given later than this before the change is no stop in time
_ROOM: Final = 6.0  # seconds to create and mirror what is to be stopped


@dataclass
class Stops:
    """The results of the stops of all rounds."""

    objects: int
    lost: list[str] = field(default_factory=list)
    reactions: list[float] = field(default_factory=list)
    silent: int = 0  # objects of the locked flag that show no phase when their lock is given free
    late: int = 0  # rounds that were skipped, because creating the objects took too long for a stop in time

    def row(self) -> str:
        """Return one line of the table."""
        cells = [
            self.objects,
            len(self.reactions),
            len(self.lost),
            f"{p99(self.reactions):.2f} / {max(self.reactions):.2f}",
            self.silent,
        ]
        return f"| {' | '.join(map(str, cells))} |\n"

    def text(self) -> str:
        """Return one line for the report."""
        given = len(self.reactions)
        return (
            f"{self.objects} objects on a locked flag: {given} stops, {len(self.lost)} lost, "
            f"reaction p99 {p99(self.reactions):.2f} s, longest {max(self.reactions):.2f} s, "
            f"{self.silent} new objects of the locked flag without a phase"
        )


def table(found: Iterable[Stops]) -> str:
    """Markdown."""
    head = (
        "| objects on a locked flag | stops | lost | reaction, p99 / greatest, s | objects without a phase |\n"
        "|---|---|---|---|---|\n"
    )
    return head + "".join(each.row() for each in found)


def measure(objects: int, rounds: int, say: Callable[[str], None]) -> Stops:
    """Run so many rounds in one world."""
    found = Stops(objects)
    with world() as on:
        on.flags([NOISY], NOISY)
        number = 0
        while number < rounds + found.late:
            _round(on, number, found)
            number += 1
            if found.late > rounds:
                raise AssertionError("the machine is too slow: most stops would be given after their change")
    say(found.text())
    return found


def _round(on: World, number: int, found: Stops) -> None:
    names = {kind: f"{kind}-{number}" for kind in ("suspend", "cancel", "delete")}
    on.flags(names.values())
    due = (datetime.now(UTC) + timedelta(seconds=_ROOM)).replace(microsecond=0)
    on.create(on.quiet, names.values(), scheduledAt=due.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert until(lambda: all((name, "Pending") in on.shown.phases for name in names.values()), 30)
    with _locked(on):
        held = [f"held-{number}-{each}" for each in range(found.objects)]
        on.create(on.noisy, held, keys=dict.fromkeys(held, NOISY), environment=NOISY)
        if time.time() > due.timestamp() - _IN_TIME:
            found.late += 1
            return
        time.sleep(max(0.0, due.timestamp() - _AHEAD - time.time()))  # the tested moment
        stops = {kind: on.pool.submit(_stop, on, kind, name) for kind, name in names.items()}
        found.reactions += [stop.result() for stop in stops.values()]
        time.sleep(max(0.0, due.timestamp() + 2 - time.time()))  # the processor had time to apply it
        found.lost += [f"{kind} in round {number}" for kind, name in names.items() if _is_changed(on, name)]
        shown = on.noisy.list()
        found.silent += sum("phase" not in shown[name].get("status", {}) for name in held)


@contextmanager
def _locked(on: World) -> Iterator[None]:
    with psycopg.connect(on.database_url) as holder:
        holder.execute("SELECT FROM feature_flags WHERE flag_key = %s FOR UPDATE", [NOISY])
        yield
        holder.rollback()


def _stop(on: World, kind: str, name: str) -> float:
    since = time.time()
    answer = on.quiet.delete(name) if kind == "delete" else on.quiet.patch(name, {"spec": EDITS[kind][0]})
    assert answer.ok, answer.message
    done = (lambda row: row["status"] == "cancelled") if kind == "delete" else EDITS[kind][1]
    return committed(on, name, done, since)


def _is_changed(on: World, name: str) -> bool:
    return bool(on.database.value("SELECT enabled FROM feature_flags WHERE flag_key = %s", name))
