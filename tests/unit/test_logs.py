"""Logs: one line is one JSON object for any content; no text of a foreign exception."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from flagschedule import logs
from flagschedule.domain.errors import FlagScheduleError

WORD = "hunter2"
HOSTILE = 'a\n{"event": "Schedule applied"}\r\x1b[31m"\x00\u2028'


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Restore the logging for the tests that follow."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the log, each line parsed."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail(secret: str) -> None:
    """Raise an error of ours whose cause has a secret in its text and in a variable."""
    try:
        int(secret)
    except ValueError as error:
        raise FlagScheduleError("a sentence of ours") from ExceptionGroup(secret, [error])


def test_a_line_is_one_object_for_any_content(capsys: pytest.CaptureFixture[str]) -> None:
    """A value with line breaks, quotes and escape sequences stays inside of its field."""
    logs.configure(style="json")

    structlog.get_logger().info("Schedule applied", flagKey=HOSTILE)
    logging.getLogger("library").warning("said %s", HOSTILE)

    ours, other = lines(capsys)
    assert (ours["event"], ours["flagKey"], ours["level"]) == ("Schedule applied", HOSTILE, "info")
    assert (other["event"], other["level"]) == (f"said {HOSTILE}", "warning")


def test_a_terminal_is_not_steered_by_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal, too, a value can neither start a line nor send an escape sequence."""
    logs.configure(style="console")

    structlog.get_logger().info("Schedule applied", flagKey=HOSTILE)

    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    assert '\x1b[31m"' not in printed


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_exception_shows_where_and_not_what(capsys: pytest.CaptureFixture[str], style: Any) -> None:
    """A traceback names places and types, also of its causes and of a library's own log; only our texts are shown."""
    logs.configure("DEBUG", style)

    for log in (structlog.get_logger(), logging.getLogger("library")):
        try:
            fail(WORD)
        except FlagScheduleError:
            log.exception("Object not handled")

    printed = capsys.readouterr().err
    assert printed.count("FlagScheduleError: a sentence of ours") == 2
    assert printed.count("builtins.ValueError") == 2
    assert "in fail" in printed
    assert WORD not in printed


def test_the_level_is_a_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level is not logged."""
    logs.configure("WARNING", "json")

    structlog.get_logger().info("Run finished")
    structlog.get_logger().warning("Failed to apply schedule")

    assert [line["event"] for line in lines(capsys)] == ["Failed to apply schedule"]


@pytest.mark.parametrize("style", ["json", "console"])
def test_many_lines_at_once_are_the_same_lines(capsys: pytest.CaptureFixture[str], style: Any) -> None:
    """Lines that are written together have the same form and the same level filter as single ones."""
    logs.configure("WARNING", style)
    many: list[logs.Line] = [
        {"flagKey": "checkout", "event": "Schedule applied", "level": "info"},
        {"flagKey": HOSTILE, "retryCount": 1, "event": "Failed to apply schedule", "level": "warning"},
        {"flagKey": "checkout", "event": "Retry limit exceeded", "level": "error"},
    ]

    logs.write([dict(line) for line in many])
    together = capsys.readouterr().err
    for line in many:
        getattr(structlog.get_logger(), line.pop("level"))(**line)
    alone = capsys.readouterr().err

    times = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
    assert len(times.findall(together)) == 2
    assert times.sub("", together) == times.sub("", alone)
