"""Finds the programs inside of wheels, and the user to run them as. Called by the servers."""

import os
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final


class PartError(Exception):
    """A local Postgres or Redis cannot be started; the message says why."""


# There is one on every Linux. Postgres refuses to be run by root, and Redis need not be.
_UNPRIVILEGED: Final = "nobody"


def runner() -> pwd.struct_passwd | None:
    """Return the user who runs the servers: an unprivileged one if we are root, else ourselves (None)."""
    return pwd.getpwnam(_UNPRIVILEGED) if os.geteuid() == 0 else None


def program(package: str, path: str, folder: Path) -> Path:
    """Return a program of a wheel that `runner` can run; copy it into the folder if necessary.

    The package is not imported: an import of these two changes files of the machine.

    Raises:
        PartError: the wheel is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise PartError(f"the package {package} is not installed; run `make setup`")
    wheel = Path(spec.origin).parent
    if not _can_run(wheel / path):
        wheel = _copy(wheel, folder / "wheel")
    return wheel / path


def _can_run(file: Path) -> bool:
    """Return whether the unprivileged user can read the file, which /root or a strict umask prevents."""
    user = runner()
    try:
        subprocess.run([file, "--version"], user=user and user.pw_uid, cwd="/", capture_output=True, check=True)
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def _copy(wheel: Path, folder: Path) -> Path:
    copy = folder / wheel.name
    if not copy.exists():
        shutil.copytree(wheel, copy, ignore=shutil.ignore_patterns("include"))
        libraries = wheel.with_name(f"{wheel.name}.libs")  # where the programs look for them: next to the package
        if libraries.exists():
            shutil.copytree(libraries, folder / libraries.name)
        for path in (folder, *folder.rglob("*")):
            _open_to_all_users(path)
    return copy


def _open_to_all_users(path: Path) -> None:
    mode = path.stat().st_mode
    executable = mode & 0o100  # a folder or a program
    path.chmod(mode | 0o044 | executable >> 3 | executable >> 6)
