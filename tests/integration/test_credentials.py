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
from urllib.parse import quote

import psycopg
import pytest

from dev.localkind.servers.pgbouncer import PgBouncer
from dev.localkind.servers.postgres import Postgres
from flagschedule import settings
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.adapters.postgres.unreachable import explain
from flagschedule.domain.errors import CredentialsRefusedError, DependencyUnavailableError
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.integration.test_mirror_store import Scene, played
from tests.waiting import PATIENCE, eventually

T = TypeVar("T")
FORMS = ["a file", "a folder"]
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
    """A user of the database whose password can be changed, and what a Secret would be mounted as.

    Attributes:
        file: the URL.
        folder: the login, a file for each part.
        place: the rest of the URL.
    """

    def __init__(self, database: Database, url: str, file: Path) -> None:
        self._database = database
        self.name = f"rotated_{database.value('SELECT current_database()')}"
        self.place = url.partition("@")[2]
        self.file = file
        self.folder = file.with_name("login")
        self.folder.mkdir()
        (self.folder / "username").write_text(self.name)
        self.url = ""

    def rotate(self, password: str) -> None:
        """Set a password, end all sessions, and write the files."""
        execute = self._database.connection.execute
        execute(f"ALTER ROLE {self.name} PASSWORD '{password}'".encode())
        self._database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", self.name)
        self.url = f"postgresql://{self.name}:{quote(password, safe='')}@{self.place}"
        self.file.write_text(f"{self.url}\n")
        (self.folder / "password").write_text(f"{password}\n")

    def settings(self, form: str) -> dict[str, str]:
        """Return the settings that name the address in one of FORMS."""
        if form == "a file":
            return {"DATABASE_URL": "", "DATABASE_URL_FILE": str(self.file)}
        return {"DATABASE_URL": f"postgresql://{self.place}", "DATABASE_FOLDER": str(self.folder)}

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


@pytest.mark.parametrize("form", FORMS)
def test_the_operator_reads_its_files_at_each_connect(
    account: Account, database_url: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rotation the store goes on with the new password of the files, and loses no object."""
    for name, value in account.settings(form).items():
        monkeypatch.setenv(name, value)

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

    played(database_url, play, connect_to=settings.load().database)


@pytest.mark.parametrize("form", FORMS)
def test_the_processor_reads_its_files_at_each_start(
    account: Account, database: Database, flagschedule: Run, form: str
) -> None:
    """Each run takes the login of the files, so that a rotation between two of them goes unnoticed."""
    for password in ("first", "sec ond:@%"):
        account.rotate(password)
        schedule = database.schedule(database.flag(password[:3]), {"enabled": True})

        done = flagschedule("process", **account.settings(form))

        assert done.returncode == 0, done.stderr
        assert database.row(schedule)["status"] == "applied"


def test_a_run_goes_on_with_a_new_password(
    account: Account, database: Database, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """What comes due after the password was rotated and all sessions ended is made once, by this run or the next."""
    account.rotate("first")
    waiting = start(**account.settings("a folder"), FLAG_SCHEDULE_LINGER_SECONDS="60")
    count = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state = 'idle'"
    eventually(lambda: database.value(count, account.name) > 0, "it is connected")

    account.rotate("second")
    schedule = database.schedule(database.flag("checkout-v2"), {"enabled": True})
    # 3 where the run finds its session ended; one that connects only then has the new password, and goes on.
    assert waiting.wait(PATIENCE) in {0, 3}
    following = start(**account.settings("a folder"))

    assert following.wait(PATIENCE) == 0
    assert database.row(schedule)["status"] == "applied"
    assert len(database.attempts(schedule)) == 1


def test_a_refused_login_names_the_folder(account: Account, flagschedule: Run) -> None:
    """A folder with the old password ends a run with 3 and a sentence that names what to correct."""
    account.rotate("second")
    (account.folder / "password").write_text("first")

    done = flagschedule("process", **account.settings("a folder"))

    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].endswith(
        "the database refuses the user or the password in DATABASE_URL and DATABASE_FOLDER"
    )
    assert account.name not in done.stderr


def test_libpqs_own_variables_add_what_is_left_out(
    account: Account, database: Database, postgres: Postgres, flagschedule: Run
) -> None:
    """A URL without any part, and PG* variables as an `envFrom` of a Secret sets them, reach the database."""
    account.rotate("variables")
    schedule = database.schedule(database.flag("checkout-v2"), {"enabled": True})
    login = {"PGUSER": account.name, "PGPASSWORD": "variables"}
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGDATABASE": account.place.rpartition("/")[2]}

    done = flagschedule("process", DATABASE_URL="postgresql://", **login, **place)

    assert done.returncode == 0, done.stderr
    assert database.row(schedule)["status"] == "applied"


def test_a_host_that_is_named_nowhere_has_a_sentence(flagschedule: Run) -> None:
    """Without a host, libpq looks for a socket of this machine; the sentence lists the places for a host."""
    done = flagschedule("process", DATABASE_URL="postgresql:///shop?port=1")

    assert done.returncode == 3
    assert "no host is named" in done.stderr.splitlines()[-1]


def test_a_user_that_is_named_nowhere_has_a_sentence() -> None:
    """In a pod the user of the system has no name, so libpq has none to log in with."""
    said = explain(psycopg.OperationalError("connection is bad: local user with ID 65532 does not exist"))

    assert isinstance(said, CredentialsRefusedError)
    assert "no user is named" in str(said)


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
