"""The roles of docs/how-to/database-roles.md, made by the statements of that page; each program runs as its own.

Fixtures make them once for each server. Tests set the scene and look at it as the superuser, and hand
`url(...)` to the program under test. Login users have the superuser's password.
"""

import re
from pathlib import Path
from typing import Final, Literal

import psycopg

from dev.localkind.servers.postgres import Postgres

Program = Literal["migrate", "operator", "process", "cleanup", "audit"]

HOST: Final = "shop"  # owns the tables that the application had before we came
OUTSIDER: Final = "landlord"  # owns what the migrator may not touch
_USERS: Final[dict[Program, str]] = {
    "migrate": "flags_migrate",
    "operator": "flags_operate",
    "process": "flags_process",
    "cleanup": "flags_clean",
    "audit": "flags_audit",
}
_PAGE: Final = Path(__file__).parents[1] / "docs" / "how-to" / "database-roles.md"


def _blocks() -> list[str]:
    return re.findall(r"```sql\n(.*?)```", _PAGE.read_text(), re.DOTALL)


ROLES, USERS, SCHEMA, FLAGS, SCHEDULES = _blocks()


def rights_on_schema(name: str) -> bytes:
    """Return the page's statements for a schema of another name."""
    return SCHEMA.replace("SCHEMA public", f"SCHEMA {name}").encode()


def create(server: Postgres) -> None:
    """Make the roles, and give those who may create tables the right to, in every database made from now on."""
    with psycopg.connect(server.database_url("template1"), autocommit=True) as session:
        for statements in (
            ROLES,
            USERS.replace("'secret'", f"'{server.password}'"),
            SCHEMA,
            f"CREATE ROLE {HOST} NOLOGIN; GRANT CREATE ON SCHEMA public TO {HOST}",
            f"CREATE ROLE {OUTSIDER} NOLOGIN",
            SCHEDULES,
        ):
            session.execute(statements.encode())


def url(of_superuser: str, program: Program) -> str:
    """Return the URL of the same database for the user of a program; another's URL stays as it is."""
    return of_superuser.replace("//postgres:", f"//{_USERS[program]}:", 1)
