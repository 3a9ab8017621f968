"""Where the database is: a URL, and a folder with one file for each part that the URL leaves out.

A folder is what Kubernetes mounts a Secret as, and what a sidecar renews a token in. Called at each connect.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError

URL: Final = "DATABASE_URL"
FOLDER: Final = "DATABASE_FOLDER"
MUST_LOOK_LIKE: Final = "must look like postgresql://user:password@host:port/database"
_LAST_PORT: Final = 65535
# Each part by libpq's name for it, and the names of its file: operators of Postgres use one or the other.
_FILES: Final = {
    "host": ("host",),
    "port": ("port",),
    "user": ("user", "username"),
    "password": ("password",),
    "dbname": ("dbname", "database"),
}


@dataclass(frozen=True)
class DatabaseAddress:
    """The address, read again by each call.

    Attributes:
        url: the URL, or the file that holds it.
        folder: the folder with the other parts.
    """

    url: str | Path
    folder: Path | None

    @property
    def name(self) -> str:
        """The settings that messages name: those that hold the address."""
        names = [f"{URL}_FILE" if isinstance(self.url, Path) else URL, FOLDER]
        if self.folder is None:
            return names[0]
        return FOLDER if isinstance(self.url, str) and not parts_of(self.url) else " and ".join(names)

    def __call__(self) -> str:
        """Return the whole address as a URL.

        Raises:
            ConfigurationError: the parts contradict each other.
            DependencyUnavailableError: a file cannot be read.
        """
        url = self.url if isinstance(self.url, str) else read_url(self.url)
        if self.folder is None:
            return url
        parts = _read_folder(self.folder)
        if doubled := sorted(parts_of(url) & parts.keys()):
            raise ConfigurationError(
                [f"{URL} and {FOLDER} both hold the {' and the '.join(doubled)}; leave it out of the URL"]
            )
        separator = "" if url.endswith(("?", "&")) else "&" if "?" in url else "?"
        return f"{url}{separator}{urlencode(parts, quote_via=quote, safe='')}"


def read_url(path: Path) -> str:
    """Return the URL that a file holds; libpq would connect to another place with an empty one.

    Raises:
        DependencyUnavailableError: it cannot be read, or holds no URL, as when it is being written.
    """
    url = clean(read(f"{URL}_FILE", path))
    if not url:
        raise DependencyUnavailableError(f"{URL}_FILE: the file is empty; let it hold the URL, or remove the variable")
    if not is_postgres(url):
        raise DependencyUnavailableError(f"{URL}_FILE: the file {MUST_LOOK_LIKE}")
    return url


def is_postgres(url: str) -> bool:
    """Whether a text is a URL of Postgres."""
    return url.startswith(("postgresql://", "postgres://"))


def read(name: str, path: Path) -> str:
    """Return the content of a file that a setting names, without an editor's byte order mark.

    Raises:
        DependencyUnavailableError: it cannot be read, or is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DependencyUnavailableError(f"{name}: the file is not UTF-8; write it in that encoding") from None
    except (OSError, ValueError):
        raise DependencyUnavailableError(f"{name}: the file cannot be read; check its path and its mode") from None
    if "\0" in text:
        raise DependencyUnavailableError(f"{name}: the file holds a NUL byte; write it as text, without that byte")
    return text


def clean(url: str) -> str:
    """Drop what belongs to no URL: an editor's newline and byte order mark, and the quotes of an env file."""
    text = url.strip().removeprefix("\ufeff")
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1].strip() if is_quoted else text


def _read_folder(folder: Path) -> dict[str, str]:
    """Return the parts that the folder has a file of."""
    try:
        files = {file.name for file in folder.iterdir()}
    except OSError:
        raise DependencyUnavailableError(
            f"{FOLDER}: the folder cannot be read; check its path and its mode, and that the Secret is mounted there"
        ) from None
    found = {}
    for part, names in _FILES.items():
        if name := next((name for name in names if name in files), None):
            # A password may begin or end with a space; a newline is an editor's, or that of `echo`.
            text = read(f"{FOLDER}, {name}", folder / name).rstrip("\r\n")
            found[part] = text if part == "password" else text.strip()
            if not found[part]:
                raise DependencyUnavailableError(f"{FOLDER}: its file {name} is empty; write the {part} into it")
    if not found:
        known = ", ".join(name for names in _FILES.values() for name in names)
        raise DependencyUnavailableError(
            f"{FOLDER}: has none of the files {known}; mount the keys of the Secret under these names"
        )
    if "host" in found:
        found["host"] = ",".join(map(_host, found["host"].split(",")))
    if not all(map(_is_port, found.get("port", "").split(","))):
        raise ConfigurationError([f"{FOLDER}: its file port holds no port; write a number from 1 to 65535"])
    return found


def _host(host: str) -> str:
    """Return one host as libpq takes it: an address of IPv6 without its brackets.

    Raises:
        ConfigurationError: it has a scheme or a port.
    """
    is_bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if is_bracketed else host
    is_folder = bare.startswith("/")
    if not is_folder and ("/" in bare or ((":" in bare or is_bracketed) and not _is_ipv6(bare))):
        raise ConfigurationError(
            [f"{FOLDER}: its file host holds more than a host; leave out a scheme and a port (the file port holds it)"]
        )
    return bare


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    """Whether libpq takes a text as a port; an empty one is its default."""
    port = text.strip()
    return not port or (re.fullmatch("[0-9]{1,5}", port) is not None and 1 <= int(port) <= _LAST_PORT)


def parts_of(url: str) -> set[str]:
    """Return the parts that a URL holds, by libpq's names."""
    place, _, query = url.partition("://")[2].partition("?")
    authority, _, database = place.partition("/")
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    given = {
        "user": user,
        "password": password,
        "host": re.sub(r":\d+(?=,|$)|,", "", hosts),
        "port": re.search(r":\d+(,|$)", hosts),
        "dbname": database,
    }
    return {part for part, value in given.items() if value} | {name for name, _ in parse_qsl(query)}
