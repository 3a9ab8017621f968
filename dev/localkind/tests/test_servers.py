"""The local Postgres and Redis: they start, answer only to their password, and leave nothing behind."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from dev.localkind.servers import guard, wheels
from dev.localkind.servers.postgres import Postgres
from dev.localkind.servers.redis import Redis
from dev.localkind.servers.server import Server
from dev.localkind.tests import PATIENCE

_OWNER = """
import sys, time
from dev.localkind.servers.postgres import Postgres
from dev.localkind.servers.redis import Redis
part = {"postgres": Postgres, "redis-server": Redis}[sys.argv[1]]().__enter__()
print(part.folder, part.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(params=[Postgres, Redis])
def part(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each of the parts, running."""
    with request.param() as part:
        yield part


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A Postgres for one test, which may break it."""
    with Postgres() as server:
        yield server


def _shared_memory(creator: int) -> set[str]:
    """Return the System V segments that this process made; servers of other tests make and free theirs meanwhile."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines if int(line.split()[4]) == creator}


def _is_gone(folder: Path, pid: int) -> bool:
    return not folder.exists() and not guard.is_running(pid)


def test_closed_part_leaves_nothing(part: Server) -> None:
    """Closing ends the server and removes its folder; closing again is harmless."""
    children = guard.children([part.pid])

    part.close()
    part.close()

    assert _is_gone(part.folder, part.pid)
    assert not any(map(guard.is_running, children))


@pytest.mark.parametrize("program", ["postgres", "redis-server"])
def test_killed_owner_leaves_nothing(program: str) -> None:
    """When the process that started a part is killed, server and folder go as well."""
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    ) as owner:
        assert owner.stdout
        folder, pid = owner.stdout.readline().split()
        assert guard.is_running(int(pid))

        owner.kill()

    assert guard.wait_until(lambda: _is_gone(Path(folder), int(pid)), PATIENCE)


def test_killed_guard_leaves_nothing(part: Server) -> None:
    """Closing removes everything even when the guard was killed before."""
    part._guard.kill()
    part._guard.wait()

    part.close()

    assert _is_gone(part.folder, part.pid)


def test_crashed_postgres_leaves_no_shared_memory() -> None:
    """The memory that a killed Postgres leaves in the kernel is given back at the end."""
    with Postgres() as server:
        while_running = _shared_memory(server.pid)
        server.kill()

    assert while_running
    assert not _shared_memory(server.pid)


def test_parts_run_side_by_side(part: Server) -> None:
    """A second part of the same kind gets a folder, a port and a password of its own."""
    with type(part)() as other:
        assert part.folder != other.folder
        assert part.port != other.port
        assert part.password != other.password


def test_part_listens_at_the_given_address() -> None:
    """Each address of `listen` answers, others do not; the first one stands in the URL."""
    with Postgres(listen=["127.0.0.2", "127.0.0.3"]) as server:
        assert "@127.0.0.2:" in server.url
        psycopg.connect(server.database_url("postgres", "127.0.0.3")).close()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.database_url("postgres", "127.0.0.1"))


def test_part_that_does_not_start_says_why(own_postgres: Postgres) -> None:
    """The end of the server's log is in the error."""
    own_postgres.stop()
    (own_postgres.data / "PG_VERSION").write_text("9")

    with pytest.raises(wheels.PartError, match="incompatible with server"):
        own_postgres.start()


def test_unreadable_wheel_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres starts although the unprivileged user cannot read the folder of the wheel."""
    monkeypatch.setattr(wheels, "_can_run", lambda _: False)

    with Postgres() as server:
        psycopg.connect(server.url).close()
        assert Path(f"/proc/{server.pid}/exe").readlink().is_relative_to(server.folder)


def test_missing_wheel_is_named(tmp_path: Path) -> None:
    """A missing wheel is an error that says what to do."""
    with pytest.raises(wheels.PartError, match="no_such_wheel is not installed; run `make setup`"):
        wheels.program("no_such_wheel", "bin/x", tmp_path)


def test_postgres_wants_the_password(own_postgres: Postgres) -> None:
    """A login with a wrong password is refused."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(own_postgres.url.replace(own_postgres.password, "wrong"))


def test_postgres_databases_are_copied_from_a_template(own_postgres: Postgres) -> None:
    """A database can be created as a copy of another one, and dropped while it is in use."""
    template = own_postgres.create_database("template")
    with psycopg.connect(template) as session:
        session.execute("CREATE TABLE copied ()")
    copy = own_postgres.create_database("copy", template="template")

    with psycopg.connect(copy) as session:
        session.execute("SELECT FROM copied")
        own_postgres.drop_database("copy")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT FROM copied")


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_postgres_keeps_its_data_across_a_restart(own_postgres: Postgres, mode: str) -> None:
    """A restart keeps URL and committed data, crash or not."""
    with psycopg.connect(own_postgres.url, autocommit=True) as session:
        session.execute("CREATE TABLE kept ()")

    own_postgres.restart(mode)  # type: ignore[arg-type] # each of its literals

    with psycopg.connect(own_postgres.url) as session:
        session.execute("SELECT FROM kept")


def test_postgres_recovers_from_kill(own_postgres: Postgres) -> None:
    """After SIGKILL it starts again at once, with everything that was committed."""
    with psycopg.connect(own_postgres.url, autocommit=True) as session:
        session.execute("CREATE TABLE kept ()")
        own_postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT FROM kept")

    own_postgres.start()

    with psycopg.connect(own_postgres.url) as session:
        session.execute("SELECT FROM kept")


def test_redis_wants_the_password_and_survives_a_restart() -> None:
    """A login without the password is refused; after a restart it is empty, at the same URL."""
    with Redis() as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        with (
            redis.Redis.from_url(server.url.replace(server.password, "wrong")) as foreign,
            pytest.raises(redis.AuthenticationError),
        ):
            foreign.ping()

        server.restart()

        assert client.get("key") is None


def test_guard_knows_its_own_servers_only(own_postgres: Postgres, tmp_path: Path) -> None:
    """Neither other programs with the folder in their command line nor other folders' servers are ended."""
    foreign = subprocess.Popen(["sleep", "600"], cwd=own_postgres.folder)
    try:
        assert guard.servers(own_postgres.folder, "postgres") == [own_postgres.pid]
        assert guard.servers(tmp_path, "postgres") == []
        own_postgres.close()
        assert foreign.poll() is None
    finally:
        foreign.send_signal(signal.SIGKILL)
        foreign.wait()
