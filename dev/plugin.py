"""Builds the plugin for kubectl: one executable archive, and the manifest with which krew installs it.

The command: `python -m dev.plugin [FOLDER]`, as `make plugin` does. The archive holds the plugin, what it needs of the
domain, and the locked cronsim and tzdata. The same sources give the same bytes, so that a checksum can be compared.
"""

import gzip
import hashlib
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from flagschedule import __version__

ROOT: Final = Path(__file__).parents[1]
NAME: Final = "kubectl-flagschedule"
MANIFEST: Final = "flagschedule.yaml"
LIBRARIES: Final = ("cronsim", "tzdata")
_PACKAGE: Final = ROOT / "operator" / "flagschedule"
# What the plugin imports of the domain; a test starts the archive and would miss a module.
_DOMAIN: Final = ("__init__", "calendar", "cron", "times", "zones")
_LOCKED: Final = re.compile(r"^(\w+)==(?:.*\\\n)+.*$", re.MULTILINE)
_FIRST_DAY: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that an archive can hold
_RELEASES: Final = os.environ.get("PLUGIN_RELEASES", "https://example.com/flagschedule")  # where it is published


def locked() -> str:
    """Return the lines of the lock file, with hashes, of what goes into the archive."""
    text = (ROOT / "requirements" / "runtime.txt").read_text()
    found = {match[1]: match[0] for match in _LOCKED.finditer(text)}
    return "\n".join(found[name] for name in LIBRARIES) + "\n"


def archive(libraries: Path) -> bytes:
    """Return the executable archive, with the libraries of a folder."""
    content = io.BytesIO()
    content.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as made:
        for name, data in sorted({**dict(_sources()), **dict(_libraries(libraries))}.items()):
            entry = zipfile.ZipInfo(name, _FIRST_DAY)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, data)
    return content.getvalue()


def _sources() -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", (_PACKAGE / "plugin" / "__main__.py").read_bytes()
    yield "flagschedule/__init__.py", (_PACKAGE / "__init__.py").read_bytes()
    for name in _DOMAIN:
        yield f"flagschedule/domain/{name}.py", (_PACKAGE / "domain" / f"{name}.py").read_bytes()
    for file in (_PACKAGE / "plugin").glob("*.py"):
        yield f"flagschedule/plugin/{file.name}", file.read_bytes()
    yield "LICENSE", (ROOT / "LICENSE").read_bytes()


def _libraries(folder: Path) -> Iterator[tuple[str, bytes]]:
    for file in folder.rglob("*"):
        place = file.relative_to(folder)
        if (
            file.is_file()
            and "__pycache__" not in place.parts
            and place.name not in {"RECORD", "INSTALLER", "REQUESTED"}
        ):
            yield place.as_posix(), file.read_bytes()


def manifest(checksum: str) -> str:
    """Return the manifest of krew for an archive with this checksum."""
    return f"""\
# The manifest of krew, the package manager of kubectl's plugins.
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: flagschedule
spec:
  version: v{__version__}
  homepage: {_RELEASES}
  shortDescription: Show and act on scheduled flag changes
  description: |
    Shows what FlagSchedules, FlagPlans and FlagFreezes change and have changed: a timeline, why a
    change waits, what happened, and what a file will do before it is merged. Suspends, retries,
    promotes and freezes with a field manager of its own.
  caveats: |
    Needs Python 3.11 or newer as python3.
    For completion: kubectl flagschedule completion > kubectl_complete-flagschedule
    in a folder of PATH, and make that file executable.
  platforms:
    - selector:
        matchExpressions:
          - key: os
            operator: In
            values: [linux, darwin]
      uri: {_RELEASES}/v{__version__}/{NAME}.tar.gz
      sha256: "{checksum}"
      files:
        - from: {NAME}
          to: .
        - from: LICENSE
          to: .
      bin: {NAME}
"""


def _packed(files: Mapping[str, bytes]) -> bytes:
    """Return a .tar.gz as krew downloads it, the same bytes each time."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as made:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755 if name == NAME else 0o644
            made.addfile(entry, io.BytesIO(data))
    return gzip.compress(content.getvalue(), mtime=0)


def build(folder: Path) -> Path:
    """Write archive, package and manifest into a folder. Returns: the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        libraries, lock = Path(place) / "libraries", Path(place) / "locked.txt"
        lock.write_text(locked())
        options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--require-hashes")
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, f"--requirement={lock}", f"--target={libraries}"],
            check=True,
        )
        content = archive(libraries)
    program = folder / NAME
    program.write_bytes(content)
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    package = _packed({NAME: content, "LICENSE": (ROOT / "LICENSE").read_bytes()})
    (folder / f"{NAME}.tar.gz").write_bytes(package)
    (folder / MANIFEST).write_text(manifest(hashlib.sha256(package).hexdigest()))
    return program


def main() -> None:
    """Build it."""
    program = build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist")
    print(f"==> {program}, {program.stat().st_size // 1024} KB")
    print(f"==> {program.with_name(MANIFEST)}")


if __name__ == "__main__":
    main()
