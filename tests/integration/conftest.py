"""Fixtures of the tests on a real Postgres and a real Redis."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests import roles
from tests.integration.database import Database, connected
from tests.waiting import PATIENCE

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A connection to a fresh, migrated database."""
    with connected(database_url) as database:
        yield database


@pytest.fixture
def flagschedule(database_url: str, redis_url: str) -> Run:
    """Runs the program as a user does, with its own database role; settings are passed by name."""

    def run(program: roles.Program, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PATH": os.environ["PATH"], **settings}
        environment["DATABASE_URL"] = roles.url(environment["DATABASE_URL"], program)
        return subprocess.run(
            [sys.executable, "-m", "flagschedule", program, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run


@pytest.fixture
def start(database_url: str, redis_url: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a run in the background, by the command `before` if there is one; what is left of it is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*, before: Sequence[str] = (), **settings: str) -> subprocess.Popen[str]:
        url = roles.url(database_url, "process")
        environment = {"DATABASE_URL": url, "REDIS_URL": redis_url, "PATH": os.environ["PATH"], **settings}
        command = [*before, sys.executable, "-m", "flagschedule", "process"]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()
