"""The build context: the files that the Dockerfile copies, and the locked wheels, in a folder of their own.

Called by the command. With the wheels inside, a build needs no network. The fingerprint of the context decides
whether there is anything to build.
"""

import hashlib
import platform
import shutil
import struct
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dev.localkind.steps import StepFailedError, output, run

ROOT = Path(__file__).resolve().parents[2]

LOCKS = ("requirements/runtime.txt", "requirements/build.txt")
# The same list as in .dockerignore and the Dockerfile's COPY lines; a test compares them.
INPUTS = (
    *("Dockerfile", ".dockerignore", "dev/image/root.py", "pyproject.toml", "README.md", "LICENSE"),
    *("operator", "migrations", *LOCKS),
)

PYTHON = "3.11"  # of python:3.11-slim and of Debian bookworm
PYTHONS = (PYTHON, "3.12", "3.13", "3.14")  # those of the machines where the plugin runs
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
MACHINES = tuple(_ELF_MACHINES)
_GLIBC_MINORS = range(17, 37)  # wheels for glibc 2.17 to 2.36, which bookworm has


def files(root: Path = ROOT) -> Iterator[Path]:
    """Yield every file that goes into the image, relative to `root`, in a fixed order."""
    for name in INPUTS:
        found = sorted((root / name).rglob("*")) if (root / name).is_dir() else [root / name]
        for path in found:
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root)


def fingerprint(root: Path = ROOT, *more: str) -> str:
    """Return a hash over names and contents of the inputs, and everything else that decides what the image is."""
    digest = hashlib.sha256()
    for path in files(root):
        digest.update(f"{path}\0".encode() + hashlib.sha256((root / path).read_bytes()).digest())
    digest.update("\0".join(more).encode())
    return digest.hexdigest()[:16]


def commit(root: Path = ROOT) -> str:
    """Return the commit that the inputs come from, for the image's label; `-dirty` if they were edited since."""
    described = output(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
    return described.strip() if described else "unknown"


def stage(folder: Path, wheels: Path) -> None:
    """Fill an empty folder with the inputs and the wheels.

    Raises:
        StepFailedError: an input is missing.
    """
    for path in files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(ROOT / path, target)
        except FileNotFoundError as error:
            raise StepFailedError(f"{path} is missing; the image cannot be built without it.") from error
    shutil.copytree(wheels, folder / "wheels")


def download_wheels(
    cache: Path, *, machine: str = platform.machine(), python: str = PYTHON, locks: Sequence[str] = LOCKS
) -> Path:
    """Return the folder with all locked wheels for a processor and a Python; downloaded once per state of the locks.

    Raises:
        StepFailedError: the package index does not serve them.
    """
    files = [ROOT / lock for lock in locks]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files) + machine.encode())
    folder = cache / f"wheels-{python}-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    for file in files:
        run([*_pip_download(machine, python), "--dest", partial, "--requirement", file])
    partial.rename(folder)
    return folder


def foreign(wheels: Path, machine: str) -> list[str]:
    """Return the libraries in a folder of wheels that are not 64-bit ELF files for a processor."""
    wanted = b"\x7fELF\x02", struct.pack("<H", _ELF_MACHINES[machine])
    found = []
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if ".so" in Path(name).suffixes:
                    with archive.open(name) as file:
                        head = file.read(20)
                    if (head[:5], head[18:20]) != wanted:
                        found.append(f"{wheel.name}: {name}")
    return found


def _pip_download(machine: str, python: str) -> list[str | Path]:
    # --no-deps: the locks name every package, and markers would be judged by the Python that runs pip.
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS]
    return [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"),
        *(f"--python-version={python}", "--implementation=cp", f"--platform=manylinux2014_{machine}", *platforms),
    ]
