"""The workflows of CI say what their authors meant; `zizmor`, among the checks, says what an attacker could do."""

import subprocess

import pytest

from dev.check import ROOT
from dev.localkind import programs


@pytest.mark.actionlint
def test_actionlint_has_nothing_to_say() -> None:
    """Every key, expression, event and job of the workflows exists."""
    program = programs.ensure([programs.ACTIONLINT])["actionlint"] / "actionlint"

    # Without the linters of the machine: the answer must not depend on what is installed.
    done = subprocess.run(
        [program, "-shellcheck=", "-pyflakes="], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")
