"""Builds what the tests with a cluster need while the tests without one run. Loaded by conftest.py.

The tests say by their markers what they need. The builds start when it is known which tests will run, and are
waited for, with their progress shown, before the first test that needs them: outside of its time limit.

With pytest-xdist each worker does so; a second build of the same program waits for the first and finds the work done.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from dev.localkind import programs

_ROOT: Final = Path(__file__).parents[1]
# Quick ones first: folders of tests/, and others. One that is not named here comes last.
_FOLDERS: Final = (
    "checks",
    "unit",
    "conformance",
    "dev",
    "gitops",
    "monitoring",
    "integration",
    "cases",
    "chart",
    "benchmarks",
    "cluster",
    "neighbours",
    "e2e",
)
# The longest first, so that workers end at about the same time; a test may need several.
_LEVELS: Final = ("node", "apiserver", "flux", "helm", "kstatus", "actionlint")
_PROGRAMS: Final = "the programs of the cluster"
_IMAGE: Final = "the image"
_CHOICES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "helm": {"Helm": ("dev.localkind", "build", "--only", "helm")},
    "actionlint": {"actionlint": ("dev.localkind", "build", "--only", "actionlint")},
    "kstatus": {"kstatus": ("dev.localkind", "build", "--only", "kstatus")},
    "flux": {
        _PROGRAMS: ("dev.localkind", "build", "--only", programs.control_plane().name),
        "Flux": ("dev.localkind", "build", "--only", "flux"),
    },
    "apiserver": {_PROGRAMS: ("dev.localkind", "build", "--only", programs.control_plane().name)},
    "node": {
        _PROGRAMS: ("dev.localkind", "build"),
        _IMAGE: ("dev.image", "build"),
        "a registry": ("dev.localkind", "build", "--only", "registry"),
    },
}


class Build:
    """A build in the background, with its output in a file."""

    def __init__(self, name: str, module: str, *arguments: str) -> None:
        self.name = name
        self.command = f"python -m {' '.join([module, *arguments])}"
        self._output = tempfile.TemporaryFile("w+b")  # noqa: SIM115 -- closed by `stop`
        self._process = subprocess.Popen(
            ["nice", sys.executable, "-u", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            cwd=_ROOT,
            start_new_session=True,  # so that `stop` reaches the compilers as well
        )
        self._seen = 0

    def is_running(self) -> bool:
        """Return whether it is still running."""
        return self._process.poll() is None

    def failed(self) -> bool:
        """Return whether it ended with an error."""
        return self._process.poll() not in {None, 0}

    def new_lines(self) -> list[str]:
        """Return the complete lines that were written since the last call."""
        file = self._output.fileno()  # read by pread, since the writer shares the offset
        written = os.pread(file, os.fstat(file).st_size, self._seen)
        complete = written[: written.rfind(b"\n") + 1]
        self._seen += len(complete)
        return complete.decode(errors="replace").splitlines()

    def tail(self) -> str:
        """Return the end of everything it wrote."""
        self._seen = 0
        return "\n".join(self.new_lines()[-40:])

    def stop(self) -> None:
        """End it; it goes on where it was the next time."""
        if self.is_running():
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()
        self._output.close()


_builds: Final = pytest.StashKey[dict[str, Build]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the quick tests first, those that need a build last."""
    items.sort(key=_rank)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the builds that the chosen tests need."""
    commands: dict[str, tuple[str, ...]] = {}
    if not session.config.option.collectonly:
        wanted = {level for item in session.items for level in _levels(item)}
        for level in filter(wanted.__contains__, reversed(_LEVELS)):
            commands |= _CHOICES[level]  # "node" comes last and needs more
    session.config.stash[_builds] = {name: Build(name, *command) for name, command in commands.items()}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for what the test needs, before the clock of its time limit starts."""
    for build in _needed(item):
        _wait(build, _say_to(item.config))
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test whose programs could not be built."""
    for build in _needed(item):
        if build.failed():
            pytest.fail(f"`{build.command}` failed:\n{build.tail()}", pytrace=False)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no build running."""
    for build in config.stash.get(_builds, {}).values():
        build.stop()


def _needed(item: pytest.Item) -> list[Build]:
    builds = item.config.stash[_builds]
    return [builds[name] for level in _levels(item) for name in _CHOICES[level]]


def _levels(item: pytest.Item) -> list[str]:
    return [level for level in _LEVELS if item.get_closest_marker(level)]


def _rank(item: pytest.Item) -> tuple[int, int]:
    levels = _levels(item)
    parts = item.path.relative_to(_ROOT).parts
    folder = parts[1] if parts[0] == "tests" else parts[0]
    return (_place(_LEVELS, levels[0]) if levels else -1, _place(_FOLDERS, folder))


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


def _wait(build: Build, say: Callable[[str], None]) -> None:
    if not build.is_running():
        return
    say(f"Waiting for {build.name} (`{build.command}`). It is built once; Ctrl-C is safe: it goes on next time.")
    running = True
    while running:
        running = build.is_running()
        for line in build.new_lines():
            say(f"  {line}")
        time.sleep(0.2)
    say(f"{build.name} failed." if build.failed() else f"{build.name}: ready.")


def _say_to(config: pytest.Config) -> Callable[[str], None]:
    """Return what prints progress: to pytest's own output, or past it in the first worker of pytest-xdist."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    capture: Any = config.pluginmanager.get_plugin("capturemanager")

    def say(line: str) -> None:
        if not hasattr(config, "workerinput"):
            reporter.ensure_newline()
            reporter.write_line(line)
        elif config.workerinput["workerid"] == "gw0":
            with capture.global_and_fixture_disabled():
                sys.stderr.write(f"{line}\n")

    return say
