"""Runs the product's programs in this process, through their command line: many times as fast as by starting each."""

import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import structlog

from flagschedule import cli
from tests import roles


@dataclass(frozen=True)
class Run:
    """How a program ended and what it said."""

    code: int
    stderr: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log lines.

        Raises:
            ValueError: a line is no JSON object.
        """
        return [json.loads(line) for line in self.stderr.split("\n") if line]

    def fault(self) -> str | None:
        """Why this was no clean run; None if it was."""
        if self.code != 0:
            return f"exit code {self.code}: {self.stderr[-300:]}"
        try:
            lines = self.lines
        except ValueError:
            return f"a log line is no JSON object: {self.stderr[-300:]}"
        if len(lines) != len(self.stderr.splitlines()):
            return "a log line breaks in two for some readers"
        if bugs := [line for line in lines if "exception" in line]:
            return f"an exception is logged: {bugs[0]['exception'][-300:]}"
        return None


def run(program: roles.Program, url: str, **settings: str) -> Run:
    """Run a program with its own database role; `url` is the superuser's."""
    environment = {"DATABASE_URL": roles.url(url, program), "FLAG_SCHEDULE_LOG_FORMAT": "json", **settings}
    said = StringIO()
    with _environment(environment), logging_restored(), redirect_stderr(said), redirect_stdout(StringIO()):
        code = cli.main([program])
    return Run(code, said.getvalue())


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def logging_restored() -> Iterator[None]:
    """Leave logging and signals as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
        for number, handler in signals.items():
            signal.signal(number, handler)
