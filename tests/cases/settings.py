"""Every setting that a role or a database can carry, under every program: `python -m tests.cases settings`.

The settings come from `pg_settings`. Those that only choose what the server logs are left out: they change no value and
end no statement. With any of them set, each program does its work, and reads the same values as without.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import psycopg
from psycopg import sql

from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.domain import status
from tests import roles
from tests.cases import columns
from tests.cases.report import Report, some
from tests.cases.scene import GOOD_UID, OddScene
from tests.integration.database import connected

Carrier = Literal["role", "database"]
_CARRIERS: Final[tuple[Carrier, ...]] = ("role", "database")

# Values for each setting whose values the catalogue does not list. None: a session with another value does not start,
# or there is no other value.
_TEXTS: Final[dict[str, list[str] | None]] = {
    "backtrace_functions": ["exec_simple_query"],
    "client_encoding": ["SQL_ASCII", "LATIN1", "EUC_JP"],
    "createrole_self_grant": ["set, inherit"],
    "DateStyle": ["SQL, DMY", "German", "Postgres, YMD"],
    "default_table_access_method": None,
    "default_tablespace": None,
    "default_text_search_config": ["pg_catalog.simple"],
    "dynamic_library_path": ["/nowhere:$libdir"],  # PL/pgSQL, too, is found by it
    "extension_control_path": ["/nowhere"],
    "lc_messages": ["C.utf8", "POSIX"],
    "lc_monetary": ["C.utf8", "POSIX"],
    "lc_numeric": ["C.utf8", "POSIX"],
    "lc_time": ["C.utf8", "POSIX"],
    "local_preload_libraries": None,
    "output_plugin_libraries": None,
    "plpgsql.extra_errors": ["all"],
    "plpgsql.extra_warnings": ["all"],
    "restrict_nonsystem_relation_kind": ["view, foreign-table"],
    "search_path": ["nowhere, public", "pg_catalog, public"],  # how a role says where our tables are
    "session_preload_libraries": None,
    "temp_tablespaces": None,
    "TimeZone": ["Australia/Lord_Howe", "<+14>-14", "Europe/Dublin"],
    "timezone_abbreviations": ["India"],
    "wal_consistency_checking": ["heap, btree"],
}
_EMPTY: Final = """
DO $$
BEGIN
    EXECUTE (SELECT coalesce('DROP TABLE ' || string_agg(oid::regclass::text, ', ') || ' CASCADE', 'SELECT 1')
             FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace);
END $$
"""
_SHORTEST: Final = 100  # milliseconds
USERS: Final[dict[roles.Program, str]] = {
    "process": "flags_process",
    "cleanup": "flags_clean",
    "operator": "flags_operate",
    "migrate": "flags_migrate",
}
_SETTINGS: Final = """
SELECT name, setting, vartype, min_val, max_val, enumvals FROM pg_settings
WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend') AND category NOT LIKE 'Reporting and Logging%'
  -- These end with each session by their nature, cannot be given to a role, or keep a session from starting.
  AND name NOT IN ('role', 'session_authorization', 'seed', 'post_auth_delay') AND name !~ '^transaction_(?!timeout)'
ORDER BY name
"""


@dataclass(frozen=True)
class Setting:
    """A setting and a value that is not its default."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value!r}"

    def assignment(self) -> sql.Composed:
        """Return the assignment for SET, ALTER ROLE and ALTER DATABASE."""
        value = sql.SQL(self.value) if self.name == "search_path" else sql.Literal(self.value)
        return sql.SQL("SET {} = {}").format(sql.Identifier(*self.name.split(".")), value)


def settings(scene: OddScene) -> list[Setting]:
    """Return every setting at its extremes.

    Raises:
        KeyError: the values of a setting of this server are not written down yet.
    """
    return [
        Setting(found["name"], value)
        for found in scene.database.query(_SETTINGS)
        for value in _values(found)
        if value != found["setting"]
    ]


def _values(found: dict[str, Any]) -> list[str]:
    match found["vartype"]:
        case "bool":
            return ["on", "off"]
        case "enum":
            return list(found["enumvals"])
        case "integer":
            # The first statement of a session comes before anything can be set: it needs some milliseconds.
            shortest = _SHORTEST if found["name"].endswith("_timeout") else int(found["min_val"]) + 1
            return [found["min_val"], str(shortest), found["max_val"]]
        case "real":
            return [found["min_val"], found["max_val"]]
    return _TEXTS[found["name"]] or []


def _operator(scene: OddScene, plain: object) -> str | None:
    """Check as with odd columns, and that every value is read as without the setting."""
    try:
        seen = asyncio.run(_read(roles.url(scene.url, "operator")))
    except Exception as error:  # noqa: BLE001 -- every error is what we look for
        return f"{type(error).__name__}: {str(error)[:200]}"
    return columns.operator(scene) if seen == plain else f"another status: {seen} instead of {plain}"


async def _read(url: str) -> object:
    async with PostgresMirrorStore(url, "default", []) as store:
        await columns.answered(store)
        found = {each.record.ref.uid: each async for each in store.snapshots() if each.record}
    computed = status.compute(columns.an_object(GOOD_UID, "good"), found[GOOD_UID])  # type: ignore[index]  # a Uid is a UUID
    made = computed.as_json() if computed else {}
    for condition in made.get("conditions", []):
        condition.pop("lastTransitionTime")
    return made, found[GOOD_UID].record, found[GOOD_UID].row  # type: ignore[index]  # the same


def _of(check: Callable[[OddScene], str | None]) -> Callable[[OddScene, object], str | None]:
    return lambda scene, _: check(scene)


@dataclass(frozen=True)
class Program:
    """A program, what it must do, and whether it does so in an empty database."""

    role: roles.Program
    check: Callable[[OddScene, object], str | None]
    is_empty: bool = False


PROGRAMS: Final = {
    "process": Program("process", _of(columns.process)),
    "cleanup": Program("cleanup", _of(columns.cleanup)),
    "operator": Program("operator", _operator),
    "migrate once more": Program("migrate", _of(columns.migrate)),
    "migrate empty": Program("migrate", _of(columns.migrate), is_empty=True),
}


@contextmanager
def begun(scene: OddScene, program: Program) -> Iterator[object]:
    """Prepare the scene or an empty database for one case; yield what the operator reads there without a setting."""
    scene.begin("finished")
    if not program.is_empty:
        yield asyncio.run(_read(scene.url)) if program.role == "operator" else None
        return
    with connected(scene.empty_url) as empty:
        empty.connection.execute(_EMPTY.encode())
    with scene.reached_by(scene.empty_url):
        yield None


@dataclass(frozen=True)
class Case:
    """A setting, what carries it, and the program that meets it."""

    setting: Setting
    carrier: Carrier
    program: str

    def __str__(self) -> str:
        return f"{self.program}: {self.carrier} with {self.setting}"


def cases(scene: OddScene, number: int | None, seed: int, only: str = "") -> list[Case]:
    """Run every program with every setting, or so many of them."""
    everything = [
        Case(setting, carrier, program) for setting in settings(scene) for carrier in _CARRIERS for program in PROGRAMS
    ]
    return some(everything, number, seed, only)


def run(scene: OddScene, report: Report, chosen: list[Case]) -> None:
    """Try them, one after the other."""
    for case in report.progress(chosen):
        program = PROGRAMS[case.program]
        with begun(scene, program) as plain:
            holder = USERS[program.role] if case.carrier == "role" else scene.name
            alter = sql.SQL("ALTER {} {} ").format(sql.SQL(case.carrier), sql.Identifier(holder))
            try:
                scene.database.connection.execute(alter + case.setting.assignment())
            except psycopg.Error:
                report.skip("Postgres refuses the value")
                continue
            try:
                failure = program.check(scene, plain)
            finally:
                scene.database.connection.execute(alter + sql.SQL("RESET ALL"))
            report.case(case.program, failure and f"{case}: {failure}")
