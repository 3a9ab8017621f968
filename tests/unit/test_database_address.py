"""The parts of the database's address: a URL and a folder of files, put together, or refused with what to do."""

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from flagschedule import settings
from flagschedule.adapters.postgres.connection import parameters
from flagschedule.database_address import DatabaseAddress
from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError

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


@pytest.mark.parametrize(
    "password", ["~,VZd8atZ4>XzJ?q", "a#b", "pass&word", "]x[", " 'x' ", "ä€", "100%", "(x)", "{x}", "$(x)", "${{x}}"]
)
def test_a_password_of_any_characters_arrives(password: str, tmp_path: Path) -> None:
    """What breaks a URL that a chart puts together is a password like any other in a file."""
    (tmp_path / "password").write_text(f"{password}\n")

    assert parameters(DatabaseAddress("postgresql://u@h/d", tmp_path), "test")["password"] == password


@pytest.mark.parametrize(
    "url",
    ["u:$(X)@h/d", "${X}:p@h/d", "u@{{X}}:1/d", "u@h:$(X)/d", "u@h/$(X)", "u@h?password=$(X)", "u@$(X),$(Y)/d"],
)
def test_a_placeholder_in_a_url_is_refused(url: str) -> None:
    """Kubernetes leaves `$(NAME)` where the variable is missing; a password that looks like it is escaped in a URL."""
    with pytest.raises(ConfigurationError, match="was not replaced"):
        parameters(f"postgresql://{url}", "test")

    escaped = parameters("postgresql://u:%24%28X%29@h/d", "test")
    assert escaped.items() >= {"password": "$(X)"}.items()


def test_an_open_query_is_continued(tmp_path: Path) -> None:
    """A URL may end with the mark that options would follow."""
    (tmp_path / "password").write_text("hunter2")

    for url in ("postgresql://u@h/d?", "postgresql://u@h/d?sslmode=require&"):
        assert parameters(DatabaseAddress(url, tmp_path), "test").items() >= {"password": "hunter2"}.items()


def test_a_byte_order_mark_is_an_editors(tmp_path: Path) -> None:
    """It is part of no file's value."""
    for name, text in {"host": "h", "port": "5433", "user": "u", "password": "hunter2"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8-sig")

    assert DatabaseAddress("postgresql://", tmp_path)() == "postgresql://?host=h&port=5433&user=u&password=hunter2"


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "hunter2", "mysql://u:hunter2@h/d", "host=h user=u"])
@pytest.mark.parametrize("with_folder", [False, True])
def test_a_file_of_the_url_is_checked_at_the_start_and_at_each_read(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, with_folder: bool
) -> None:
    """With an empty URL libpq would connect to the socket of its own host; a file may be truncated at any time."""
    file = tmp_path / "url"
    file.write_text("postgresql://u@h/d")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("DATABASE_URL_FILE", str(file))
    if with_folder:
        (tmp_path / "password").write_text("hunter2")
        monkeypatch.setenv("DATABASE_FOLDER", str(tmp_path))
    loaded = settings.load().database
    assert callable(loaded)

    file.write_text(text)

    with pytest.raises(DependencyUnavailableError) as later:
        loaded()
    with pytest.raises(ConfigurationError) as first:
        settings.load()
    assert list(first.value.faults) == [str(later.value)]
    assert str(later.value).startswith("DATABASE_URL_FILE: the file ")
    assert "hunter2" not in str(later.value)


@pytest.mark.parametrize(
    ("content", "said"), [(b"p\xe4ss", "not UTF-8"), (b"p\0ss", "holds a NUL byte")], ids=["Latin-1", "NUL"]
)
def test_a_file_that_is_no_text_is_refused_with_its_name(content: bytes, said: str, tmp_path: Path) -> None:
    """The sentence says what is wrong with the content."""
    (tmp_path / "password").write_bytes(content)

    with pytest.raises(DependencyUnavailableError, match=rf"DATABASE_FOLDER, password: .*{said}"):
        DatabaseAddress("postgresql://u@h/d", tmp_path)()


WRONG: dict[str, tuple[str, dict[str, str], str]] = {
    "password twice": ("postgresql://u:hunter2@h/d", {"password": "hunter2"}, "both hold the password; leave it out"),
    "user and host twice": ("postgresql://u@h/d", {"user": "u", "host": "h"}, "both hold the host and the user; leave"),
    "port twice": ("postgresql://h:5432/d", {"port": "5432"}, "both hold the port"),
    "database twice": ("postgresql://h/?dbname=d", {"dbname": "d"}, "both hold the dbname"),
    "no file": ("postgresql://h/d", {"DB_PASSWORD": "hunter2"}, "none of the files host, port, user, username,"),
    "empty file": ("postgresql://h/d", {"password": "\n"}, "its file password is empty"),
    "host with a port": ("", {"host": "h.example:5432"}, "the file port holds it"),
    "host that is a URL": ("", {"host": "postgresql://h.example/x"}, "leave out a scheme"),
    "hosts with ports": ("", {"host": "a:1,b:2"}, "the file port holds it"),
    "address with a port": ("", {"host": "[::1]:5432"}, "the file port holds it"),
    "a name in brackets": ("", {"host": "[h]"}, "leave out a scheme"),
    "no port": ("", {"port": "hunter2"}, "its file port holds no port"),
    "port out of range": ("", {"port": "5432,99999"}, "from 1 to 65535"),
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


@pytest.mark.parametrize("host", ["::1", "fe80::1%eth0", "/run/postgresql", "a.example,b.example", "::1,/run"])
def test_a_file_may_hold_each_kind_of_host(host: str, tmp_path: Path) -> None:
    """Addresses of IPv6, folders of sockets and several hosts are hosts."""
    (tmp_path / "host").write_text(host)

    assert conninfo_to_dict(DatabaseAddress("postgresql://", tmp_path)()) == {"host": host}


def test_brackets_of_an_address_are_dropped(tmp_path: Path) -> None:
    """They belong to a URL; libpq takes those of a parameter for a part of the name."""
    (tmp_path / "host").write_text("[::1],[2001:db8::1]")

    assert conninfo_to_dict(DatabaseAddress("postgresql://", tmp_path)()) == {"host": "::1,2001:db8::1"}


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
