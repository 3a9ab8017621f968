"""Process 1 of a node, with small shell programs as its daemons.

It reaps every child there is, so each test runs it in a process of its own.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from dev.localkind.tests import PATIENCE

_SCRIPT = """
import json, os, sys, time
from pathlib import Path
from dev.localkind import supervisor
supervisor._RESTART_SECONDS = 0.01
node = supervisor.Supervisor(Path(sys.argv[1]), {"PATH": os.environ["PATH"], "GREETING": "hello"})
node.start({"daemon": ["/bin/sh", "-c", sys.argv[2]]})
end = time.monotonic() + 90
while time.monotonic() < end and not Path(sys.argv[1], "done").exists():
    try:
        node.look()
    except supervisor.StartFailedError as error:
        sys.exit(f"gave up: {error}")
    time.sleep(0.005)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cluster's folder."""
    (tmp_path / "log").mkdir()
    return tmp_path


def supervise(folder: Path, daemon: str) -> subprocess.CompletedProcess[str]:
    """Run a supervisor with one daemon until the daemon makes the file `done`."""
    command = [sys.executable, "-c", _SCRIPT, str(folder), daemon]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_a_daemon_that_ends_is_started_again(folder: Path) -> None:
    """A crash is repaired, the log goes on, and the daemon sees its own environment only."""
    done = supervise(folder, f'echo "$GREETING $HOME"; cd {folder}; [ -e once ] && touch done; touch once; kill -9 $$')
    assert done.returncode == 0, done.stderr
    assert (folder / "log/daemon.log").read_text() == "hello \n" * 2
    assert "daemon ended with -9" in done.stdout


def test_a_daemon_that_never_stays_up_is_a_failed_start(folder: Path) -> None:
    """After five ends the supervisor gives up and names the daemon."""
    done = supervise(folder, "echo no such plugin; exit 1")
    assert done.stderr.strip() == "gave up: daemon"
    assert (folder / "log/daemon.log").read_text() == "no such plugin\n" * 5


def test_a_node_that_was_ready_never_gives_up(folder: Path) -> None:
    """Once the launcher has called the node ready, faults may be injected without end."""
    (folder / "ready").touch()
    done = supervise(folder, f"cd {folder}; echo x >> count; [ $(wc -l < count) -ge 12 ] && touch done; exit 1")
    assert done.returncode == 0, done.stderr


def test_orphans_are_reaped(folder: Path) -> None:
    """A process whose parent ended leaves no zombie: process 1 inherits it, and here the supervisor takes that part."""
    script = "import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n" + _SCRIPT  # PR_SET_CHILD_SUBREAPER
    wait = "while [ -d /proc/$(cat orphan) ]; do sleep 0.02; done"
    daemon = f"cd {folder}; (sleep 0.05 & echo $! > orphan); {wait}; touch done; sleep 9"
    command = [sys.executable, "-c", script, str(folder), daemon]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert (folder / "done").exists()
