"""Every program through PgBouncer in each of its modes, in sessions that another client has left changed.

`python -m tests.cases poolers`. What a client can leave: every setting of `pg_settings` at its extremes, prepared
statements, temporary tables of our tables' names, cursors, channels and locks. Each program does its work all the same,
and leaves the session as it found it. A pooler without transactions is refused with a sentence.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import psycopg
from psycopg import sql

from dev.localkind.servers.pgbouncer import PgBouncer
from dev.localkind.servers.postgres import Postgres
from tests import roles
from tests.cases import settings
from tests.cases.report import Report, some
from tests.cases.scene import OddScene
from tests.integration.application import LEFT

Mode = Literal["transaction", "session", "statement"]

_MODES: Final[tuple[Mode, ...]] = ("transaction", "session", "statement")
_SESSIONS: Final = 2  # of each user and database
_RESET: Final = (
    "RESET ROLE; RESET ALL; DEALLOCATE ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP"
)
_TABLES: Final = (
    "feature_flags",
    "feature_flag_schedules",
    "flag_schedule_objects",
    "flag_schedule_runs",
    "flag_schedule_watermarks",
    "flag_schedule_cache_outbox",
    "flag_schedule_clusters",
)
_LEFT: Final = f"SELECT pg_backend_pid(), left_by::text FROM ({LEFT}) AS left_by"  # noqa: S608 -- no value of others
_NEW: Final = '("{""application_name"": ""shop""}",0,0,0,0)'  # what a new session holds
_REFUSED: Final = "pool_mode=transaction"
# An index is built outside of a transaction, where a session that is not ours must stay as it is.
_NAMED: Final = "let DATABASE_URL name Postgres itself"


@dataclass(frozen=True)
class SessionState:
    """What another client leaves in a session."""

    name: str
    statement: sql.SQL | sql.Composed

    def __str__(self) -> str:
        return self.name


_NOTHING: Final = SessionState("nothing", sql.SQL("SELECT"))


def _leftovers(scene: OddScene) -> Iterator[SessionState]:
    yield _NOTHING
    for number in range(8):  # psycopg's own names, from the first on
        yield SessionState(f"prepared _pg3_{number}", sql.SQL(f"PREPARE _pg3_{number} AS SELECT 1"))
    for table in _TABLES:
        yield SessionState(f"temporary {table}", sql.SQL("CREATE TEMP TABLE {} (id int)").format(sql.Identifier(table)))
    yield SessionState("cursor", sql.SQL("DECLARE c CURSOR WITH HOLD FOR SELECT 1"))
    yield SessionState("channel", sql.SQL("LISTEN flags"))
    yield SessionState("advisory lock", sql.SQL("SELECT pg_advisory_lock_shared(1)"))
    for group in (
        "flagschedule_operator",
        "flagschedule_processor",
        "flagschedule_cleaner",
        "flagschedule_auditor",
        roles.HOST,
    ):
        yield SessionState(f"role {group}", sql.SQL("SET ROLE {}").format(sql.Identifier(group)))
    yield SessionState("an empty search_path", sql.SQL("SET search_path = ''"))  # as pg_dump leaves it
    for setting in settings.settings(scene):
        yield SessionState(str(setting), setting.assignment())


@dataclass(frozen=True)
class Case:
    """A mode, what another client has left, and a program."""

    mode: Mode
    leftover: SessionState
    program: str

    def __str__(self) -> str:
        return f"{self.program}: {self.mode} mode after {self.leftover}"


def cases(scene: OddScene, number: int | None, seed: int, only: str = "") -> list[Case]:
    """Run every mode and program with every state of a session, or so many of them."""
    leftovers = list(_leftovers(scene))
    everything = [
        Case(mode, leftover, program)
        for mode in _MODES
        for leftover in (leftovers if mode != "statement" else [_NOTHING])
        for program in settings.PROGRAMS
    ]
    return some(everything, number, seed, only)


def run(server: Postgres, scene: OddScene, report: Report, chosen: list[Case]) -> None:
    """Try them, one after the other."""
    for mode in _MODES:  # one after the other, because the roles may have few sessions
        if of_mode := [case for case in chosen if case.mode == mode]:
            with PgBouncer(server, mode, size=_SESSIONS) as pooler:
                for case in report.progress(of_mode):
                    _try(pooler, scene, report, case)


def _try(pooler: PgBouncer, scene: OddScene, report: Report, case: Case) -> None:
    program = settings.PROGRAMS[case.program]
    with settings.begun(scene, program) as plain, scene.reached_by(pooler.url(scene.url)):
        if case.mode == "statement":
            failure = program.check(scene, plain)
            failure = None if failure and _REFUSED in failure else f"is not refused, but: {failure}"
        else:
            failure = _among_others(scene, report, case, plain)
    if failure != "":
        report.case(f"{case.mode}: {case.program}", failure and f"{case}: {failure}")


def _among_others(scene: OddScene, report: Report, case: Case, plain: object) -> str | None:
    """Why the case failed; "" if it is none."""
    program = settings.PROGRAMS[case.program]
    url = roles.url(scene.url, program.role)
    try:
        _in_each_session(url, case.leftover.statement)
    except psycopg.Error:
        report.skip("Postgres refuses it to this user")
        return ""
    try:
        before = _left(url)
        failure = program.check(scene, plain)
        if failure and _NAMED in failure:
            report.many("transaction: migrate empty, refused with the cause", 1, None)
            return ""
        after = _left(url)
        return failure or _harm(before, after, report)
    finally:
        _in_each_session(url, sql.SQL(_RESET))


def _harm(before: dict[int, str], after: dict[int, str], report: Report) -> str | None:
    """What a program has left in the sessions, by the ids of their processes.

    A session may be another one by now: the server ends one that a neighbour gave a timeout, and PgBouncer ends one
    whose client leaves in the middle of a statement, as our pools do at their end. The new one must hold nothing.
    """
    if after.keys() - before.keys():
        report.skip("but a session was replaced meanwhile")
    expected = {pid: before.get(pid, _NEW) for pid in after}
    return None if after == expected else f"leaves {after} instead of {expected}"


def _left(url: str) -> dict[int, str]:
    """Return what each session of the pool holds, by the id of its process."""
    return dict(_in_each_session(url, sql.SQL(_LEFT)))


def _in_each_session(url: str, statement: sql.SQL | sql.Composed) -> list[Any]:
    """Execute a statement in every session of the pool, by as many clients at once. Returns: the rows."""
    with ExitStack() as stack:
        clients = [stack.enter_context(_client(url)) for _ in range(_SESSIONS)]
        cursors = [client.execute(statement) for client in clients]
        return [row for cursor in cursors if cursor.description for row in cursor.fetchall()]


@contextmanager
def _client(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, prepare_threshold=None, application_name="shop") as client:
        yield client  # in a transaction, which keeps its session
