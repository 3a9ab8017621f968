"""A password that is rotated is taken up without a person, and nothing is lost meanwhile."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from dev.localkind.servers.pgbouncer import PgBouncer
from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.domain.errors import CredentialsRefusedError, DependencyUnavailableError
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.integration.test_mirror_store import Scene, played
from tests.waiting import PATIENCE

T = TypeVar("T")
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: away
clusters: [{name: away, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: away, context: {cluster: away, user: norole}}]
users: [{name: norole, user: {}}]
"""
# As the program is, but for the time after which a refusal is final.
IMPATIENT_OPERATOR = """
import sys
from flagschedule import cli
from flagschedule.adapters.postgres import pool
pool._REFUSED_FOR_GOOD = 1.0
sys.exit(cli.main(["operator"]))
"""


class Account:
    """A user of the database whose password can be changed, and the file that a Secret would be mounted as."""

    def __init__(self, database: Database, url: str, file: Path) -> None:
        self._database = database
        self.name = f"rotated_{database.value('SELECT current_database()')}"
        self._place = url.partition("@")[2]
        self.file = file
        self.url = ""

    def rotate(self, password: str) -> None:
        """Set a password, end all sessions, and write the file."""
        execute = self._database.connection.execute
        execute(f"ALTER ROLE {self.name} PASSWORD '{password}'".encode())
        self._database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", self.name)
        self.url = f"postgresql://{self.name}:{password}@{self._place}"
        self.file.write_text(f"{self.url}\n")

    def create(self) -> None:
        """Make the user, who may do what operator and processor do."""
        roles = "flagschedule_operator, flagschedule_processor"
        self._database.connection.execute(f"CREATE ROLE {self.name} LOGIN IN ROLE {roles}".encode())

    def drop(self) -> None:
        """Remove the user."""
        self._database.connection.execute(f"DROP OWNED BY {self.name}; DROP ROLE {self.name}".encode())


@pytest.fixture
def account(database_url: str, tmp_path: Path) -> Iterator[Account]:
    """A user with the password `first`."""
    with connected(database_url) as database:
        account = Account(database, database_url, tmp_path / "database-url")
        account.create()
        account.rotate("first")
        yield account
        account.drop()


async def repeated(operation: Callable[[], Awaitable[T]]) -> T:
    """Retry an operation until the database serves it, as the operator's circuit breaker does."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(DependencyUnavailableError):
                return await operation()


def test_the_operator_reads_a_file_at_each_connect(account: Account, database_url: str) -> None:
    """After a rotation the store goes on with the file's new password, and loses no object."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        before = await on.mirror(on.obj(name="before"))

        account.rotate("second")

        obj = on.obj(name="after", due=timedelta(hours=2))
        after = await repeated(lambda: on.mirror(obj))
        await on.store.ping()
        assert before.row
        assert after.row
        assert on.database.value("SELECT count(*) FROM feature_flag_schedules") == 2

    played(database_url, play, connect_to=account.file.read_text)


def test_the_processor_reads_the_file_of_its_url(account: Account, database: Database, flagschedule: Run) -> None:
    """Each run takes the URL of the file, so that a rotation between two of them goes unnoticed."""
    for password in ("first", "second"):
        account.rotate(password)
        schedule = database.schedule(database.flag(password), {"enabled": True})

        done = flagschedule("process", DATABASE_URL="", DATABASE_URL_FILE=str(account.file))

        assert done.returncode == 0, done.stderr
        assert database.row(schedule)["status"] == "applied"


@pytest.mark.parametrize("program", ["migrate", "cleanup"])
def test_the_other_programs_read_the_file_too(
    database_url: str, tmp_path: Path, flagschedule: Run, program: roles.Program
) -> None:
    """Migration and cleaner take the URL of the file, with the newline that an editor left in it."""
    file = tmp_path / "database-url"
    file.write_text(f"{roles.url(database_url, program)}\n")

    done = flagschedule(program, DATABASE_URL="", DATABASE_URL_FILE=str(file))

    assert done.returncode == 0, done.stderr


def operate(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an operator with this URL, without an API server, until it ends."""
    (folder / "kubeconfig").write_text(KUBECONFIG)
    return subprocess.run(
        [sys.executable, "-c", IMPATIENT_OPERATOR],
        env={
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(folder / "kubeconfig"),
            "DATABASE_URL": url,
            "FLAG_SCHEDULE_LEASE_NAMESPACE": "flags",
            "FLAG_SCHEDULE_PROBE_PORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_an_operator_whose_password_was_revoked_ends(account: Account, tmp_path: Path) -> None:
    """With a fixed URL that is refused for good the operator ends with 3, so that its pod reads the Secret again."""
    stale = account.url
    account.rotate("second")

    ended = operate(stale, tmp_path)

    assert ended.returncode == 3, ended.stderr
    assert "refuses the user or the password in DATABASE_URL" in ended.stderr.splitlines()[-1]


def test_an_operator_whose_url_cannot_be_right_ends(account: Account, tmp_path: Path) -> None:
    """What shows only with the first connection, as a wrong sslmode does, ends the operator with 2 and a sentence."""
    ended = operate(f"{account.url}?sslmode=yes", tmp_path)

    assert ended.returncode == 2, ended.stderr
    assert "its sslmode is none" in ended.stderr.splitlines()[-1]


def test_an_operator_behind_a_pooler_without_transactions_ends(
    account: Account, postgres: Postgres, tmp_path: Path
) -> None:
    """Statement mode ends the operator with 2 and says which mode to choose."""
    with PgBouncer(postgres, "statement", passwords={account.name: "first"}) as pooler:
        ended = operate(pooler.url(account.url), tmp_path)

    assert ended.returncode == 2, ended.stderr
    assert "pool_mode=transaction" in ended.stderr.splitlines()[-1]


def test_a_file_is_waited_for(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the file still holds the old password the operator waits for the new one in the same file."""
    monkeypatch.setattr("flagschedule.adapters.postgres.pool._REFUSED_FOR_GOOD", 0.1)

    async def play() -> None:
        old = account.file.read_text()
        account.rotate("second")
        new = account.file.read_text()
        account.file.write_text(old)
        async with PostgresMirrorStore(account.file.read_text, "default", ()) as store:
            with pytest.raises(CredentialsRefusedError):
                await store.ping()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await store.wait_until_refused()
            account.file.write_text(new)
            await repeated(store.ping)

    asyncio.run(play())
