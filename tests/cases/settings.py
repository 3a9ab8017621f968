"""Every setting that a role can carry into its sessions, under every program: `python -m tests.cases settings`.

The settings come from `pg_settings`. Those that only choose what the server logs are left out: they change no value and
end no statement. Whatever a role carries, each program does its work, and reads the same values as without.
"""

import asyncio
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from flagschedule.adapters.postgres.mirror import PostgresMirrorStore
from flagschedule.domain import status
from tests import roles
from tests.cases import columns, programs
from tests.cases.report import Report
from tests.cases.scene import GOOD_UID, OddScene

_TEXTS: Final = {
    "DateStyle": ["SQL, DMY", "German", "Postgres, YMD"],
    "TimeZone": ["Australia/Lord_Howe", "<+14>-14", "Europe/Dublin"],
    "client_encoding": ["SQL_ASCII", "LATIN1", "EUC_JP"],
    "search_path": ["nowhere, public", "pg_catalog, public"],  # how a role says where our tables are
    "timezone_abbreviations": ["India"],
    "temp_tablespaces": [""],
    "default_tablespace": [""],
}
_SHORTEST: Final = 100  # milliseconds
_ROLES: Final[dict[roles.Program, str]] = {
    "process": "flags_process",
    "cleanup": "flags_clean",
    "operator": "flags_operate",
    "migrate": "flags_migrate",
}
_SETTINGS: Final = """
SELECT name, setting, vartype, min_val, max_val, enumvals FROM pg_settings
WHERE context IN ('user', 'superuser') AND category NOT LIKE 'Reporting and Logging%'
  -- These end with each session by their nature, or cannot be given to a role.
  AND name NOT IN ('role', 'session_authorization', 'seed') AND name !~ '^transaction_(?!timeout)' ORDER BY name
"""


@dataclass(frozen=True)
class Setting:
    """A setting and a value that is not its default."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value!r}"


def settings(scene: OddScene) -> list[Setting]:
    """Every setting at its extremes."""
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
    return _TEXTS.get(found["name"], [])


def _operator(scene: OddScene) -> str | None:
    """As with odd columns; and every value is read as it is read without the setting."""
    try:
        plain, seen = (asyncio.run(_told(url)) for url in (scene.url, roles.url(scene.url, "operator")))
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what we look for
        return f"{type(error).__name__}: {str(error)[:200]}"
    return columns.operator(scene) if plain == seen else f"another status: {seen} instead of {plain}"


async def _told(url: str) -> object:
    async with PostgresMirrorStore(url, "default", []) as store:
        found = {each.record.ref.uid: each async for each in store.snapshots() if each.record}
    told = status.compute(columns.an_object(GOOD_UID, "good"), found[GOOD_UID]) or {}  # type: ignore[index]  # a Uid is a UUID
    for condition in told.get("conditions", []):
        condition.pop("lastTransitionTime")
    return told, found[GOOD_UID].record, found[GOOD_UID].row  # type: ignore[index]  # the same


def _migrate_anew(scene: OddScene) -> str | None:
    """All migrations, in an empty database."""
    name = scene.url.rpartition("/")[2]
    maintenance = scene.url.removesuffix(name) + "postgres"
    new = sql.Identifier(f"{name}_anew")
    with psycopg.connect(maintenance, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {}").format(new))
        try:
            return programs.run("migrate", scene.url + "_anew").fault()
        finally:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(new))


_PROGRAMS: Final[dict[str, tuple[roles.Program, Callable[[OddScene], str | None]]]] = {
    "process": ("process", columns.process),
    "cleanup": ("cleanup", columns.cleanup),
    "operator": ("operator", _operator),
    "migrate once more": ("migrate", columns.migrate),
    "migrate anew": ("migrate", _migrate_anew),
}


def cases(scene: OddScene, number: int | None, seed: int, only: str = "") -> list[tuple[str, Setting]]:
    """Every program with every setting; or so many of them."""
    everything = [
        (program, setting) for setting in settings(scene) for program in _PROGRAMS if only in f"{program}: {setting}"
    ]
    if number is None or number >= len(everything):
        return everything
    chance = random.Random(seed)  # noqa: S311 -- a choice, no secret
    return [everything[place] for place in sorted(chance.sample(range(len(everything)), number))]


def run(scene: OddScene, report: Report, chosen: list[tuple[str, Setting]]) -> None:
    """Try them, one after the other."""
    for number, (name, setting) in enumerate(chosen):
        if number % 200 == 199:
            sys.stderr.write(f"... {number + 1} of {len(chosen)}, {len(report.failures)} failures\n")
        program, check = _PROGRAMS[name]
        scene.begin("finished")
        user = sql.Identifier(_ROLES[program])
        value = sql.SQL(setting.value) if setting.name == "search_path" else sql.Literal(setting.value)
        change = sql.SQL("ALTER ROLE {} SET {} = {}").format(user, sql.Identifier(setting.name), value)
        try:
            scene.database.connection.execute(change)
        except psycopg.Error:
            report.skip("Postgres refuses the value")
            continue
        try:
            failure = check(scene)
        finally:
            scene.database.connection.execute(
                sql.SQL("ALTER ROLE {} RESET {}").format(user, sql.Identifier(setting.name))
            )
        report.case(name, failure and f"{setting}: {failure}")
