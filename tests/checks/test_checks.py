"""The checks of the code are tests as well, so that one run reports everything."""

import subprocess

import pytest

from dev import check


@pytest.mark.timeout(900)  # a first type check on a slow machine
@pytest.mark.parametrize("name", check.CHECKS)
def test_check(name: str) -> None:
    """Linter, formatter, type checker, import contracts, the words, the site and the workflows have no faults."""
    done = subprocess.run(check.command(name), cwd=check.ROOT, capture_output=True, text=True, check=False)

    if done.returncode != 0:
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)
