"""Logging: one JSON object a line, or readable lines on a terminal. Configured once by the command line.

Everything goes to standard error, so that standard output is free for results.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any, Final, Literal, TextIO

import structlog

from flagschedule.domain.errors import FlagScheduleError

_SHARED: Final[list[Any]] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
]


def configure(level: str = "INFO", style: Literal["console", "json"] | None = None) -> None:
    """Send our own and every library's messages to standard error, in one style.

    Args:
        level: the least level that is logged.
        style: None chooses `console` on a terminal, else `json`.
    """
    chosen = style or ("console" if sys.stderr.isatty() else "json")
    renderers: list[Any] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=_write)]
        if chosen == "console"
        else [structlog.processors.ExceptionRenderer(_where), structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def _where(exc_info: Any) -> str:
    """Where an exception came from, and its type; of its text only what we wrote ourselves.

    Texts of other people's exceptions hold hosts, users and rows' values, their local variables passwords.
    """
    return "".join(_traces(exc_info[1])).rstrip()


def _traces(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield from traceback.format_tb(error.__traceback__)
        yield f"{type(error).__module__}.{type(error).__qualname__}"
        yield f": {error}\n" if isinstance(error, FlagScheduleError) else "\n"
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _traces(each)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _write(stream: TextIO, failure: Any) -> None:
    stream.write("\n" + _where(failure))
