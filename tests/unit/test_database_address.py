"""The parts of the database's address: a URL and a folder of files, put together, or refused with what to do."""

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from flagschedule import settings
from flagschedule.adapters.postgres.connection import parameters
from flagschedule.database_address import DatabaseAddress
from flagschedule.domain.errors import ConfigurationError

# What operators of Postgres write into the Secret of an application, by their keys; more than we read.
SECRETS = {
    "CloudNativePG": {
        "dbname": "shop", "host": "pg-rw", "port": "5432", "user": "clerk", "username": "clerk", "password": "a b/@%",
        "uri": "postgresql://clerk@pg-rw:5432/shop", "jdbc-uri": "jdbc:postgresql://pg-rw:5432/shop", "pgpass": "x",
    },
    "Crunchy": {"dbname": "shop", "host": "pg-primary.db.svc", "port": "5432", "user": "clerk", "password": "a b/@%"},
    "a service binding": {
        "type": "postgresql", "database": "shop", "host": "pg-rw", "port": "5432", "username": "clerk",
        "password": "a b/@%",
    },
}  # fmt: skip


def mount(folder: Path, secret: dict[str, str]) -> Path:
    """Write the files as kubelet does: links to a folder that it replaces as a whole. Returns: the folder."""
    (folder / "..data").mkdir()
    for key, value in secret.items():
        (folder / "..data" / key).write_text(value)
        (folder / key).symlink_to(f"..data/{key}")
    return folder


@pytest.mark.parametrize("kind", SECRETS)
def test_the_secret_of_an_operator_is_enough(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys, mounted as they are, make the address; a password needs no escaping."""
    secret = SECRETS[kind]
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("DATABASE_FOLDER", str(mount(tmp_path, secret)))

    database = settings.load().database

    assert callable(database)
    assert conninfo_to_dict(database()) == {
        "host": secret["host"],
        "port": "5432",
        "user": "clerk",
        "password": "a b/@%",
        "dbname": "shop",
    }


@pytest.mark.parametrize("url", ["postgresql://db.example:5433/shop?sslmode=require", "postgresql://clerk@/?port=1"])
def test_a_folder_adds_to_a_url(url: str, tmp_path: Path) -> None:
    """What the URL holds stays; an editor's newline is no part of a file."""
    (tmp_path / "password").write_text("hunter2\n")

    found = conninfo_to_dict(DatabaseAddress(url, tmp_path)())

    assert found == {**conninfo_to_dict(url), "password": "hunter2"}


def test_each_call_reads_again(tmp_path: Path) -> None:
    """A rotation of the Secret is seen by the next connect, that of the URL's file as well."""
    mount(tmp_path, {"username": "clerk", "password": "first", "url": "postgresql://db.example/shop"})
    address = DatabaseAddress(tmp_path / "url", tmp_path)
    before = address()

    (tmp_path / "..data" / "username").write_text("clerk_2")
    (tmp_path / "..data" / "password").write_text("second")
    (tmp_path / "..data" / "url").write_text("postgresql://other.example/shop")

    assert before == "postgresql://db.example/shop?user=clerk&password=first"
    assert address() == "postgresql://other.example/shop?user=clerk_2&password=second"


@pytest.mark.parametrize("password", ["~,VZd8atZ4>XzJ?q", "a#b", "pass&word", "]x[", " 'x' ", "ä€", "100%"])
def test_a_password_of_any_characters_arrives(password: str, tmp_path: Path) -> None:
    """What breaks a URL that a chart puts together is a password like any other in a file."""
    (tmp_path / "password").write_text(f"{password}\n")

    assert parameters(DatabaseAddress("postgresql://u@h/d", tmp_path), "test")["password"] == password


WRONG: dict[str, tuple[str, dict[str, str], str]] = {
    "password twice": ("postgresql://u:hunter2@h/d", {"password": "hunter2"}, "both hold the password; leave it out"),
    "user and host twice": ("postgresql://u@h/d", {"user": "u", "host": "h"}, "both hold the host and the user; leave"),
    "port twice": ("postgresql://h:5432/d", {"port": "5432"}, "both hold the port"),
    "database twice": ("postgresql://h/?dbname=d", {"dbname": "d"}, "both hold the dbname"),
    "no file": ("postgresql://h/d", {"DB_PASSWORD": "hunter2"}, "none of the files host, port, user, username,"),
    "empty file": ("postgresql://h/d", {"password": "\n"}, "its file password is empty"),
    "host with a port": ("", {"host": "h.example:5432"}, "the file port holds it"),
    "host that is a URL": ("", {"host": "postgresql://h.example/x"}, "leave out a scheme"),
    "no folder": ("postgresql://h/d", {}, "and that the Secret is mounted there"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_combination_is_refused_with_what_to_do(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start of a program fails with one sentence that names the setting and shows no value."""
    url, files, said = WRONG[case]
    folder = mount(tmp_path, files) if files else tmp_path / ("too-long" * 100)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DATABASE_FOLDER", str(folder))

    with pytest.raises(ConfigurationError) as raised:
        settings.load()

    (fault,) = raised.value.faults
    assert said in fault
    assert "DATABASE_FOLDER" in fault
    assert "hunter2" not in fault


@pytest.mark.parametrize(
    "url", ["postgresql://[::1]:5432", "postgresql://a:1,b:2", "postgresql://a,b:1", "postgres:///?host=/run&port=1"]
)
def test_a_host_of_any_form_is_seen(url: str, tmp_path: Path) -> None:
    """A host and a port in the URL are found in each of libpq's forms."""
    (tmp_path / "host").write_text("h")
    (tmp_path / "port").write_text("1")

    with pytest.raises(ConfigurationError, match="both hold the host and the port"):
        DatabaseAddress(url, tmp_path)()


@pytest.mark.parametrize("host", ["::1", "2001:db8::1", "/var/run/postgresql", "a.example,b.example"])
def test_a_file_may_hold_each_kind_of_host(host: str, tmp_path: Path) -> None:
    """Addresses of IPv6, folders of sockets and several hosts are hosts."""
    (tmp_path / "host").write_text(host)

    assert conninfo_to_dict(DatabaseAddress("postgresql://", tmp_path)()) == {"host": host}


@pytest.mark.parametrize(
    ("url", "folder", "name"),
    [
        (Path("x"), None, "DATABASE_URL_FILE"),
        ("postgresql://", Path("x"), "DATABASE_FOLDER"),
        ("postgresql://h", Path("x"), "DATABASE_URL and DATABASE_FOLDER"),
        (Path("x"), Path("x"), "DATABASE_URL_FILE and DATABASE_FOLDER"),
    ],
)
def test_messages_name_what_holds_the_address(url: str | Path, folder: Path | None, name: str) -> None:
    """A failure to connect names the settings that are in use."""
    assert DatabaseAddress(url, folder).name == name
