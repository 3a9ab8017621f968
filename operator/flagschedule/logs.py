"""Logging: one JSON object a line, or readable lines on a terminal. Configured once by the command line.

Everything goes to standard error, so that standard output is free for results.
"""

import logging
import sys
from typing import Any, Final, Literal

import structlog

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
    # Without local variables: a traceback must not show a password that some function holds.
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderers: list[Any] = (
        [plain] if chosen == "console" else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
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
