"""Tests that need a cluster wait for its programs; the others run meanwhile."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

_ROOT = Path(__file__).parents[2]
_CONFTEST = """
from pathlib import Path
from tests import builds
builds._ROOT = Path(__file__).parent.parent
builds._CHOICES.update(apiserver={"the slow build": ("slow_build", "x")}, node={"the slow build": ("slow_build", "y")})
pytest_plugins = ["tests.builds"]
wait = builds._wait
def note_that_it_waits(build, say):
    def say_and_note(line):
        say(line)
        Path("waited").touch()
    wait(build, say_and_note)
builds._wait = note_that_it_waits
"""
_TESTS = """
import pytest
from pathlib import Path
@pytest.mark.node
def test_a_pod(): assert Path("built-y").exists()
@pytest.mark.apiserver
@pytest.mark.timeout({limit})
def test_an_object(): assert list(Path().glob("built-*"))
def test_something_quick():
    assert not list(Path().glob("built-*"))
    Path("go").touch()
"""
_BUILD = """
import sys, time
from pathlib import Path
while not (Path("go").exists() and Path("waited").exists()):
    time.sleep(0.01)
time.sleep({seconds})
print("half done")
{end}
Path(f"built-{{sys.argv[1]}}").touch()
"""


def _pytest(
    folder: Path, *arguments: str, end: str = "", seconds: float = 0, limit: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    (folder / "tests").mkdir()
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  apiserver\n  node\n")
    (folder / "tests" / "conftest.py").write_text(_CONFTEST)
    (folder / "tests" / "test_all.py").write_text(_TESTS.format(limit=limit))
    (folder / "slow_build.py").write_text(_BUILD.format(end=end, seconds=seconds))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_quick_tests_run_while_it_builds(tmp_path: Path) -> None:
    """Quick tests come first; the wait shows the build's progress and takes nothing off a test's time limit."""
    done = _pytest(tmp_path, seconds=6, limit=5)

    assert done.returncode == 0, done.stdout
    places = [
        done.stdout.index(text) for text in ("quick PASSED", "Waiting", "half done", "pod PASSED", "object PASSED")
    ]
    assert places == sorted(places)


def test_a_worker_shows_the_progress_as_well(tmp_path: Path) -> None:
    """The first worker prints how far the build is; it is alone here, so that it is the one that waits."""
    done = _pytest(tmp_path, "--numprocesses=1")

    assert done.returncode == 0, done.stdout
    assert "half done" in done.stderr
    assert "3 passed" in done.stdout


def test_failed_build_fails_the_tests_that_need_it(tmp_path: Path) -> None:
    """A build that fails is a failure of each test that needs it, with the end of what it wrote."""
    done = _pytest(tmp_path, end="sys.exit('no compiler')")

    assert done.returncode == 1
    assert "python -m slow_build y` failed" in done.stdout
    assert "no compiler" in done.stdout
    assert "1 passed" in done.stdout
    assert "2 errors" in done.stdout


@pytest.mark.parametrize("choice", [["-k", "quick"], ["--collect-only"]])
def test_nothing_is_built_that_is_not_needed(tmp_path: Path, choice: list[str]) -> None:
    """Quick tests alone, or a look at the list of tests, start no build."""
    done = _pytest(tmp_path, *choice)

    assert done.returncode == 0, done.stdout
    assert not list(tmp_path.glob("built-*"))
    assert "Waiting" not in done.stdout
