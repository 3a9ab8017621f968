"""The build context: the files that the Dockerfile copies, and the locked wheels, in a folder of their own.

Called by the command. With the wheels inside, a build needs no network. The fingerprint of the context decides
whether there is anything to build.
"""

import hashlib
import platform
import shutil
import sys
from collections.abc import Iterator
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


def download_wheels(cache: Path) -> Path:
    """Return the folder with all locked wheels for the image's Python; downloaded once per state of the lock files.

    Raises:
        StepFailedError: the package index does not serve them.
    """
    locks = [ROOT / lock for lock in LOCKS]
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks) + platform.machine().encode())
    folder = cache / f"wheels-{PYTHON}-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    for lock in locks:
        run([*_pip_download(), "--dest", partial, "--requirement", lock])
    partial.rename(folder)
    return folder


def _pip_download() -> list[str | Path]:
    # --no-deps: the locks name every package, and markers would be judged by the Python that runs pip.
    machine = platform.machine()
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS]
    return [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"),
        *(f"--python-version={PYTHON}", "--implementation=cp", f"--platform=manylinux2014_{machine}", *platforms),
    ]
