"""The command line: exit codes, and one line for each fault."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flagschedule import __version__, cli, settings
from flagschedule.bootstrap import migrating
from tests.cases.programs import logging_restored
from tests.waiting import PATIENCE, eventually

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def flagschedule(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the program in this process, because a start of Python for each test takes longer than the tests."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        for name, value in {"COLUMNS": "80", **variables}.items():
            monkeypatch.setenv(name, value)
        try:
            code = cli.main(arguments)
        except SystemExit as end:  # argparse's
            code = int(end.code or 0)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with logging_restored():
        yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("program", ["process", "migrate", "cleanup", "operator"])
def test_bad_configuration_ends_with_2(flagschedule: Run, program: str) -> None:
    """Every program lists all faults, one a line, and ends with 2 without a traceback."""
    run = flagschedule(program, DATABASE_URL="nonsense", FLAG_SCHEDULE_BATCH_SIZE="0")

    assert run.returncode == 2
    assert [line.split(":")[1].strip() for line in run.stderr.splitlines()] == [
        "DATABASE_URL",
        "FLAG_SCHEDULE_BATCH_SIZE",
    ]


@pytest.mark.parametrize("program", ["process", "migrate", "cleanup"])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@127.0.0.1:1/app",
        "postgresql://user:hunter2@no-such-host.invalid/app",
        "postgresql://user:hunter2@127.0.0.1:1/app?connect_timeout=abc",
        "postgresql://user:hunter2@127.0.0.1:notaport/app",
        "postgresql://user:hunter2@127.0.0.1/app?nonsense=1",
    ],
)
def test_a_database_that_cannot_be_reached_ends_with_2_or_3(flagschedule: Run, program: str, url: str) -> None:
    """A bad DATABASE_URL ends with 2 or 3 and one line that names it; neither password nor traceback is shown."""
    run = flagschedule(program, DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1/0")

    assert run.returncode in {2, 3}
    (line,) = run.stderr.splitlines()
    assert "DATABASE_URL" in line
    assert "hunter2" not in line


def test_a_bug_ends_with_1_and_no_traceback(flagschedule: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error ends with 1, names itself a bug and says how to see more."""

    def broken(*_: object) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr(migrating, "migrate", broken)

    run = flagschedule("migrate", DATABASE_URL="postgresql://127.0.0.1/app")

    assert run.returncode == 1
    assert "this is a bug" in run.stderr
    assert "Traceback" not in run.stderr
    assert "hunter2" not in run.stderr


def test_the_version_is_printed() -> None:
    """`flagschedule version` prints the version and nothing else."""
    command = [sys.executable, "-m", "flagschedule", "version"]

    assert subprocess.check_output(command, text=True) == f"{__version__}\n"


@pytest.mark.parametrize("program", ["process", "operator", "cleanup", "migrate"])
def test_every_program_explains_itself(flagschedule: Run, program: str) -> None:
    """Help says in a sentence what the program does, and where the settings are listed."""
    run = flagschedule(program, "--help")

    assert run.returncode == 0
    assert "flagschedule --help" in run.stdout.splitlines()[-1]
    assert max(len(line) for line in run.stdout.splitlines()) <= 80


def test_help_names_every_setting_and_exit_code(flagschedule: Run) -> None:
    """`--help` lists programs, settings with their defaults, and exit codes."""
    run = flagschedule("--help")

    lines = [line.strip() for line in run.stdout.splitlines()]
    names = [settings.variable(name) for name in settings.Settings.model_fields]
    assert names == [line for line in lines if re.fullmatch("[A-Z]+(_[A-Z]+)+", line)]
    assert [line[:1] for line in lines[lines.index("exit codes:") + 1 :]] == ["0", "1", "2", "3"]
    assert max(map(len, lines)) <= 80


def test_an_unknown_program_is_refused(flagschedule: Run) -> None:
    """A wrong word ends with 2 and names the right ones."""
    run = flagschedule("proces")

    assert run.returncode == 2
    assert "process" in run.stderr


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("processor", {"kopf", "kubernetes", "aiohttp", "redis", "flagschedule.domain.schedule", "cronsim", "tzdata"}),
        ("cleaner", {"kopf", "kubernetes", "aiohttp", "redis", "flagschedule.domain.schedule", "cronsim", "tzdata"}),
    ],
)
def test_a_program_loads_only_what_it_needs(program: str, unwanted: set[str]) -> None:
    """A program imports no library that only another program needs, so that the processor starts quickly."""
    script = f"import flagschedule.cli, flagschedule.entrypoints.{program}, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()

    assert set(loaded) & unwanted == set()


AS_PROCESS_1 = ("unshare", "--pid", "--fork", "--kill-child")
# As on a slow disk; and it catches every exception.
_SLOW_LIBRARY = """
import pathlib, time
try:
    pathlib.Path(__file__).with_name("loading").touch()
    time.sleep(600)
except BaseException:
    time.sleep(600)
"""


@pytest.mark.parametrize("program", ["process", "migrate", "cleanup", "operator"])
@pytest.mark.parametrize(
    "before",
    [(), pytest.param(AS_PROCESS_1, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root may be process 1"))],
    ids=["usual", "process 1"],
)
def test_it_can_be_stopped_while_it_loads(tmp_path: Path, program: str, before: tuple[str, ...]) -> None:
    """SIGTERM ends a program that is still loading, also as process 1, and where a library catches everything."""
    (tmp_path / "structlog.py").write_text(_SLOW_LIBRARY)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    command = [*before, sys.executable, "-m", "flagschedule", program]
    with subprocess.Popen(command, env=environment) as process:
        try:
            eventually((tmp_path / "loading").exists, "it loads a library")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[0]) if before else process.pid, signal.SIGTERM)
            assert process.wait(PATIENCE) == 128 + signal.SIGTERM
        finally:
            process.kill()
