"""What the bill of materials says of libraries inside of wheels, compared with what the libraries say at work."""

import ctypes
from importlib.metadata import distribution
from pathlib import Path

import psycopg

from dev.image import libraries

_PSYCOPG = distribution("psycopg-binary")
_LIBRARIES = Path(str(_PSYCOPG.locate_file("psycopg_binary.libs")))


def _versions() -> dict[str, str | None]:
    return {part.name: part.version for part in libraries.bundled(_LIBRARIES)}


def test_libpq_is_named_with_its_own_version() -> None:
    """The version in the bill is the one that the database driver reports."""
    number = psycopg.pq.version()

    assert _versions()["libpq"] == f"{number // 10_000}.{number % 10_000}"


def test_openssl_is_named_with_its_own_version() -> None:
    """The version in the bill is the one that the library reports."""
    (file,) = _LIBRARIES.glob("libcrypto-*")
    openssl = ctypes.CDLL(str(file))
    openssl.OpenSSL_version.restype = ctypes.c_char_p

    assert f"OpenSSL {_versions()['openssl']} ".encode() in openssl.OpenSSL_version(0)


def test_a_library_for_arm64_is_read_as_well(tmp_path: Path) -> None:
    """The machine code that returns a version is found in a library for the other processor, too."""
    code = bytes.fromhex("c0e49752 4000a072 c0035fd6")  # movz w0, #48934; movk w0, #2, lsl #16; ret
    (tmp_path / "libpq-0.so.5.18").write_bytes(bytes(64) + code)

    assert [part.version for part in libraries.bundled(tmp_path)] == ["18.6"]


def test_a_wheels_own_bill_is_taken() -> None:
    """What a wheel lists of itself comes along: the packages that its libraries were copied from."""
    info = Path(str(_PSYCOPG.locate_file(f"psycopg_binary-{_PSYCOPG.version}.dist-info")))

    assert "cyrus-sasl-lib" in {part.name for part in libraries.listed(info)}
