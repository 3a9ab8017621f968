"""Compiles one Go module and says how far it is, package by package.

Called by programs.py, which decides what is built, where to and whether at all.
"""

import os
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from dev.localkind import system
from dev.localkind.progress import duration

Report = Callable[[str], None]


class Compiler:
    """`go build` of one module.

    Args:
        name: the module's name, for the progress.
        go: the Go compiler.
        source: the folder of its go.mod.
        report: receives the progress line, at least once a second.
    """

    def __init__(self, *, name: str, go: Path, source: Path, report: Report) -> None:
        self._name = name
        self._go = go
        self._source = source
        self._report = report
        self._began = time.monotonic()

    def build(self, *, flags: tuple[str, ...], target: str, output: str) -> None:
        """Compile `target` to `output`. Go's own cache makes a second try go on where the first one stopped.

        Raises:
            ClusterError: the sources could not be fetched or compiled; the text ends with the compiler's words.
        """
        packages = self._list(flags, target)
        done = sum(not stale for stale in packages.values())
        last: deque[str] = deque(maxlen=20)
        with self._start("build", "-v", *flags, "-o", output, target) as process:
            for line in _lines(process, process.stderr):
                if line in packages:
                    done = min(done + 1, len(packages))
                elif line:
                    last.append(line)
                self._show_progress(f"{done}/{len(packages)} packages")
        self._check(process, last)

    def _list(self, flags: tuple[str, ...], target: str) -> dict[str, bool]:
        """Return every package the build needs, and whether it is still to be compiled; fetches the sources."""
        template = "{{.ImportPath}} {{.Stale}}"
        last: deque[str] = deque(maxlen=20)
        found: dict[str, bool] = {}
        fetched = 0
        self._show_progress("looking at the sources")
        with self._start("list", "-deps", *flags, "-f", template, target, merge=True) as process:
            for line in _lines(process, process.stdout):
                package, _, stale = line.partition(" ")
                if stale in {"true", "false"}:
                    found[package] = stale == "true"
                elif line.startswith("go: downloading"):
                    fetched += 1
                elif line:
                    last.append(line)
                self._show_progress(f"{fetched} source modules fetched" if fetched else "looking at the sources")
        self._check(process, last)
        return found

    def _start(self, verb: str, *words: str, merge: bool = False) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self._go), verb, *words],
            cwd=self._source,
            env=go_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if merge else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
        )

    def _show_progress(self, text: str) -> None:
        self._report(f"{self._name} {text}, {duration(time.monotonic() - self._began)}")

    def _check(self, process: subprocess.Popen[bytes], last: deque[str]) -> None:
        if process.returncode == 0:
            return
        raise system.ClusterError(
            f"building {self._name} failed (go ended with {process.returncode}):\n  "
            + "\n  ".join(last or ["go said nothing"])
            + "\nIf a download failed, run the command again: what is fetched and compiled is kept. If memory or "
            "disk ran out, 4 GB of memory and 8 GB of disk are enough.",
        )


def go_environment() -> dict[str, str]:
    """Return the environment of every build: the result must not depend on the machine's own Go settings."""
    return system.environment(CGO_ENABLED="0", GOFLAGS="-buildvcs=false", GOTOOLCHAIN="local", GOWORK="off")


def _lines(process: subprocess.Popen[bytes], pipe: IO[bytes] | None) -> Iterator[str]:
    """Yield the lines of a program's pipe, and an empty one each second in which it says nothing."""
    assert pipe is not None  # noqa: S101 -- for the type checker: every caller opens the pipe
    rest = b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                if not selector.select(timeout=1.0):
                    yield ""
                    continue
                chunk = os.read(pipe.fileno(), 65536)
                if not chunk:
                    break
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
        if rest:
            yield rest.decode(errors="replace")
    except BaseException:
        process.kill()
        raise
