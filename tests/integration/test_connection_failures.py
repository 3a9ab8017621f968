"""A connection that fails says why and what to do, and shows nothing of the address or the server's text."""

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psycopg
import pytest

from dev.localkind.servers.pgbouncer import PgBouncer
from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres.connection import parameters
from flagschedule.adapters.postgres.session import AsyncSession, Session
from flagschedule.domain.errors import (
    ConfigurationError,
    CredentialsRefusedError,
    DependencyUnavailableError,
    FlagScheduleError,
)
from tests.integration.tls import Authority, terminated
from tests.waiting import eventually

PASSWORD = "hunter2"  # noqa: S105 -- of users that live as long as this module
SETUP = f"""
CREATE ROLE clerk LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE crowded LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 0;
CREATE ROLE club NOLOGIN PASSWORD '{PASSWORD}';
CREATE ROLE outsider LOGIN PASSWORD '{PASSWORD}';
"""
DATABASES = ("CREATE DATABASE closed ALLOW_CONNECTIONS false", "CREATE DATABASE private")

# The cause: the URL's authority and the rest of it, a part of the sentence, and the type of the error.
CAUSES: dict[str, tuple[str, str, type[FlagScheduleError]]] = {
    "wrong password": ("clerk:wrong@{server}/postgres", "refuses the user or the password", CredentialsRefusedError),
    "unknown user": ("norole:x@{server}/postgres", "refuses the user or the password", CredentialsRefusedError),
    "no password": ("clerk@{server}/postgres", "has no password", CredentialsRefusedError),
    "a group": ("club:{password}@{server}/postgres", "may not log in", CredentialsRefusedError),
    "unknown database": ("clerk:{password}@{server}/nothing", "no database of the name", DependencyUnavailableError),
    "closed database": ("clerk:{password}@{server}/closed", "takes no connections", DependencyUnavailableError),
    "private database": ("clerk:{password}@{server}/private", "GRANT CONNECT", DependencyUnavailableError),
    "unknown host": ("clerk:{password}@nowhere.invalid/postgres", "is not known", DependencyUnavailableError),
    "refused port": ("clerk:{password}@127.0.0.1:1/postgres", "nothing listens", DependencyUnavailableError),
    "bad port": ("clerk:{password}@127.0.0.1:99999/postgres", "from 1 to 65535", ConfigurationError),
    "a port of IPv6": ("clerk:{password}@::1:5432/postgres", "stands in brackets", ConfigurationError),
    "a placeholder": ("clerk:$(PASSWORD)@{server}/postgres", "was not replaced", ConfigurationError),
    "a line break": ("clerk:{password}\n@{server}/postgres", "line break", ConfigurationError),
    "another tool's option": ("clerk:{password}@{server}/postgres?schema=app", "csearch_path", ConfigurationError),
    "no channel binding": (
        "clerk:{password}@{server}/postgres?channel_binding=require",
        "channel_binding",
        ConfigurationError,
    ),
    "bad sslmode": ("clerk:{password}@{server}/postgres?sslmode=yes", "sslmode is none", ConfigurationError),
    "bad option": ("clerk:{password}@{server}/postgres?gssencmode=yes", "libpq does not know", ConfigurationError),
    "no TLS": ("clerk:{password}@{server}/postgres?sslmode=require", "speaks no TLS", DependencyUnavailableError),
    "another authority": (
        "clerk:{password}@localhost:{tls}/postgres?sslmode=verify-full&sslrootcert={other}",
        "is not trusted",
        DependencyUnavailableError,
    ),
    "no authority": (
        "clerk:{password}@localhost:{tls}/postgres?sslmode=verify-full&sslrootcert=/nowhere",
        "certificate file",
        ConfigurationError,
    ),
    "another host": (
        "clerk:{password}@127.0.0.1:{tls}/postgres?sslmode=verify-full&sslrootcert={ours}",
        "is for another host",
        DependencyUnavailableError,
    ),
    "no line in pg_hba.conf": ("outsider:{password}@{server}/postgres", "pg_hba.conf", DependencyUnavailableError),
    "too many connections": ("crowded:{password}@{server}/postgres", "no connection left", DependencyUnavailableError),
    "no primary": (
        "clerk:{password}@{server}/postgres?target_session_attrs=standby",
        "standby",
        DependencyUnavailableError,
    ),
    "unknown setting": (
        "clerk:{password}@{server}/postgres?options=-cnonsense%3D1",
        "`options`",
        DependencyUnavailableError,
    ),
    "pooler: options": (
        "clerk:{password}@{pooler}/postgres?options=-cwork_mem%3D1MB",
        "ignore_startup_parameters",
        DependencyUnavailableError,
    ),
    "pooler: wrong password": (
        "clerk:wrong@{pooler}/postgres",
        "refuses the user or the password",
        CredentialsRefusedError,
    ),
    "pooler: unknown user": ("norole:x@{pooler}/postgres", "user", CredentialsRefusedError),
    "pooler: unknown database": (
        "clerk:{password}@{pooler}/nothing",
        "no database of the name",
        DependencyUnavailableError,
    ),
    "pooler: full": ("clerk:{password}@{full}/postgres", "no connection left", DependencyUnavailableError),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server with users of every kind, of which one has no line in pg_hba.conf."""
    with Postgres() as server:
        with psycopg.connect(server.url, autocommit=True) as session:
            session.execute(SETUP.encode())
            for statement in DATABASES:
                session.execute(statement)
            session.execute("REVOKE CONNECT ON DATABASE private FROM PUBLIC")
        (server.data / "pg_hba.conf").write_text("host all outsider all reject\nhost all all all scram-sha-256\n")
        server.restart("fast")
        yield server


@pytest.fixture(scope="module")
def places(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the URLs of this module name."""
    folder = tmp_path_factory.mktemp("authorities")
    ours, other = Authority(folder / "ours"), Authority(folder / "other")
    with (
        terminated(ours.server("localhost"), server.port, postgres=True) as tls,
        PgBouncer(server, "transaction", passwords={"clerk": PASSWORD}, settings="server_login_retry = 1") as pooler,
        PgBouncer(server, "transaction", passwords={"clerk": PASSWORD}, settings="max_client_conn = 1") as full,
        psycopg.connect(full.url(server.url)),
    ):
        yield {
            "password": PASSWORD,
            "server": f"127.0.0.1:{server.port}",
            "tls": str(tls),
            "pooler": f"127.0.0.1:{pooler.port}",
            "full": f"127.0.0.1:{full.port}",
            "ours": str(ours.certificate),
            "other": str(other.certificate),
        }


async def _open_async(url: str) -> None:
    await (await AsyncSession.open(url, "test")).close()


@pytest.mark.parametrize("way", ["processor", "operator"])
@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_has_a_sentence_of_its_own(places: dict[str, str], cause: str, way: str) -> None:
    """What is wrong and what to do is said for each cause, without a part of the address."""
    address, part, kind = CAUSES[cause]
    url = "postgresql://" + address.format_map(places)

    with pytest.raises(FlagScheduleError) as raised:
        Session.open(url, "test").close() if way == "processor" else asyncio.run(_open_async(url))

    sentence = str(raised.value)
    assert part in sentence
    assert type(raised.value) is kind
    words = {"clerk", "norole", "crowded", "club", "outsider", PASSWORD, "wrong", "127.0.0.1", "nowhere", "nothing"}
    assert words & set(re.findall(r"[\w.]+", sentence)) - {"nothing" if part == "nothing listens" else ""} == set()


def test_no_two_causes_share_a_sentence() -> None:
    """The sentences differ, but for a cause that a server hides on purpose: which of user and password is wrong."""
    sentences = [part for cause, (_, part, _) in CAUSES.items() if not cause.startswith("pooler")]

    assert [part for part in set(sentences) if sentences.count(part) > 1] == ["refuses the user or the password"]


def test_a_server_that_starts_is_waited_for() -> None:
    """While Postgres is starting the message says that this is temporary."""
    with Postgres() as server:
        server.stop()
        (server.data / "standby.signal").touch()
        with (server.data / "postgresql.auto.conf").open("a") as configuration:
            configuration.write("hot_standby = off\n")
        with server.log.open("ab") as log:
            server._process = server._run(server._command(), log.fileno())

        def sentence() -> str:
            with pytest.raises(DependencyUnavailableError) as raised:
                Session.open(server.url, "test")
            return str(raised.value)

        eventually(lambda: "passes by itself" in sentence())


# What no server here says, with the cause or without one: a Postgres in another language, and two managed poolers.
ANSWERS = {
    "FATAL:  Passwort-Authentifizierung für Benutzer »clerk« fehlgeschlagen": (
        "refuses us",
        DependencyUnavailableError,
    ),
    'ВАЖНО:  база данных "flags" не существует': ("refuses us", DependencyUnavailableError),
    "FATAL:  This RDS proxy has no credentials for the role clerk": ("refuses us", DependencyUnavailableError),
    "FATAL:  Tenant or user not found": ("does not know the user", CredentialsRefusedError),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_refusal_in_other_words_is_no_silence(answer: str) -> None:
    """An unknown error of the server is reported as a refusal, not as an unreachable server."""
    part, kind = ANSWERS[answer]
    severity, _, text = answer.partition(":  ")

    with refusing(severity, text) as port, pytest.raises(kind, match=part) as raised:
        Session.open(f"postgresql://clerk:x@127.0.0.1:{port}/flags?sslmode=disable", "test")

    assert type(raised.value) is kind


@contextmanager
def refusing(severity: str, text: str) -> Iterator[int]:
    """Open a port at which a server refuses one client in these words."""
    fields = b"".join(f"{name}{value}\0".encode() for name, value in (("S", severity), ("C", "XX000"), ("M", text)))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0")

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("space", ["\n", " \n", "\r\n", "\t"])
def test_a_newline_at_the_end_does_no_harm(database_url: str, space: str) -> None:
    """What `kubectl create secret --from-file` or an editor adds at the end is no part of the URL."""
    Session.open(database_url + space, "test").close()


@pytest.mark.parametrize("password", ["p@ss", "p/ss", "p%ss", "a@b@c", "50%/x@y"])
def test_a_character_that_is_not_escaped_is_named(password: str) -> None:
    """A password with a character that ends it too early is a fault of the URL; escaped it is taken as it is."""
    with pytest.raises(ConfigurationError, match="not escaped"):
        parameters(f"postgresql://clerk:{password}@db.example:5432/flags", "test")

    escaped = parameters(f"postgresql://clerk:{quote(password, safe='')}@db.example:5432/flags", "test")
    assert (escaped["password"], escaped["host"]) == (password, "db.example")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///flags?host=/run/postgresql&user=clerk",
        "postgresql://clerk@db.example/flags?options=-csearch_path%3Dapp",
        "postgresql://one:5432,two:5433/flags?user=clerk",
        "postgresql://clerk:p%40ss@[::1]:5432/flags",
        "postgresql://clerk:p:s?s#s@db.example/flags",
    ],
)
def test_a_right_url_is_taken(url: str) -> None:
    """No URL that libpq understands is taken for one with an unescaped character."""
    assert parameters(url, "test")["dbname"] == "flags"
