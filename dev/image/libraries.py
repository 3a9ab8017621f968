"""What lies inside of Python's wheels: the parts that they list themselves, and shared libraries that they bring along.

Called by the bill of materials. Reads files and runs nothing.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packageurl import PackageURL

_OPENSSL: Final = re.compile(rb"OpenSSL (\d+\.\d+\.\d+[a-z]?) ")
_KERBEROS: Final = re.compile(rb"KRB5_BRAND: krb5-(\d+(?:\.\d+)+)-")
_ARM64_MOVZ, _ARM64_MOVK, _ARM64_RET = 0x52800000, 0x72A00000, 0xD65F03C0  # of register w0; the second one high


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a wheel; the version is None where the file does not say it."""

    name: str
    version: str | None
    purl: PackageURL
    cpe: str | None = None


def listed(info: Path) -> Iterator[Part]:
    """Yield the parts in a wheel's own bills (PEP 770), which lie in its folder NAME.dist-info/sboms."""
    for file in sorted(info.glob("sboms/*.json")):
        for component in json.loads(file.read_text()).get("components", ()):
            if "purl" in component:
                purl = PackageURL.from_string(component["purl"])
                if purl.type != "pypi":  # the wheel itself
                    yield Part(name=component["name"], version=component.get("version"), purl=purl)


def bundled(folder: Path) -> Iterator[Part]:
    """Yield the libraries of projects that wheels' own bills leave out, from a wheel's folder NAME.libs."""
    for file in sorted(folder.glob("*.so*")):
        if project := _PROJECTS.get(file.name.partition("-")[0]):
            version = project.version(file)
            yield Part(
                name=project.name,
                version=version,
                purl=PackageURL("generic", name=project.name, version=version),
                cpe=f"cpe:2.3:a:{project.vendor}:{project.product}:{version or '*'}:*:*:*:*:*:*:*",
            )


def _stated(pattern: re.Pattern[bytes]) -> Callable[[Path], str | None]:
    def version(file: Path) -> str | None:
        found = pattern.search(file.read_bytes())
        return found[1].decode() if found else None

    return version


def _of_libpq(file: Path) -> str | None:
    """Return the version, whose major part is in the file's name: libpq.so.5.18 is of Postgres 18.

    The rest is only in the machine code of PQlibVersion, which returns 180006 for 18.6.
    """
    major = int(file.name.rpartition(".")[2])
    content = file.read_bytes()
    numbers = range(major * 10_000, major * 10_000 + 100)
    found = {number % 10_000 for number in numbers if any(code in content for code in _returning(number))}
    return f"{major}.{found.pop()}" if len(found) == 1 else None


def _returning(number: int) -> tuple[bytes, bytes]:
    """Return the machine code of `return number`, for amd64 and for arm64."""
    words = (_ARM64_MOVZ | (number & 0xFFFF) << 5, _ARM64_MOVK | (number >> 16) << 5, _ARM64_RET)
    return b"\xb8" + number.to_bytes(4, "little") + b"\xc3", b"".join(word.to_bytes(4, "little") for word in words)


@dataclass(frozen=True, kw_only=True)
class _Project:
    """Who makes a library, with the names that the lists of vulnerabilities use, and how its version is found."""

    name: str
    vendor: str
    product: str
    version: Callable[[Path], str | None]


_PROJECTS: Final[Mapping[str, _Project]] = {
    "libcrypto": _Project(name="openssl", vendor="openssl", product="openssl", version=_stated(_OPENSSL)),
    "libkrb5": _Project(name="krb5", vendor="mit", product="kerberos_5", version=_stated(_KERBEROS)),
    "libldap": _Project(name="openldap", vendor="openldap", product="openldap", version=lambda _: None),
    "libpq": _Project(name="libpq", vendor="postgresql", product="postgresql", version=_of_libpq),
}
