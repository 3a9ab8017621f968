"""How tests wait, and which signals they and their programs see."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE, eventually

_ROOT = Path(__file__).parents[2]
_TEST = """
import signal
def test_children_see_signals():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
_CONFTEST = "from tests import waiting\nwaiting.restore_signals()\n"


def test_a_run_in_the_background_has_the_usual_signals(tmp_path: Path) -> None:
    """Tests see SIGINT and SIGTERM with their default actions also where their parent ignores both."""
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_signals.py").write_text(_TEST)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]

    done = subprocess.run(
        ["sh", "-c", "trap '' INT TERM; exec \"$@\"", "sh", *command],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_a_wait_returns_what_it_waited_for() -> None:
    """A wait returns the condition's value once there is one."""
    answers = iter([None, 0, "", "found"])

    assert eventually(lambda: next(answers)) == "found"


def test_a_wait_in_vain_names_its_condition() -> None:
    """A condition that never holds ends the wait with an error that says which it was."""
    with pytest.raises(TimeoutError, match="the moon is full: not within 0 s"):
        eventually(lambda: False, "the moon is full", seconds=0)
