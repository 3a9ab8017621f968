"""The command: `python -m dev.demo`, started by `make demo`.

DEMO_ONCE=1 ends by itself; DEMO_CONTEXT, DEMO_IMAGE and DEMO_HOST are for a cluster of yours (see choices.py).
"""

import os
import signal
import sys
from contextlib import ExitStack
from types import FrameType
from typing import Final

from dev.demo import cleaning
from dev.demo.choices import Choices
from dev.demo.commands import DemoError
from dev.demo.narrator import Narrator
from dev.demo.story import Story
from dev.localkind.servers.wheels import PartError
from dev.localkind.system import ClusterError

_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INTERRUPTED: Final = 130


def main() -> int:
    """Run the story and clean up after it.

    Returns:
        0 if every step did what it said, 1 if not, 130 if it was interrupted before its end.
    """
    narrator = Narrator()
    for number in _ENDINGS:
        signal.signal(number, _interrupt)
    cleanup = ExitStack()
    try:
        code = _run(narrator, cleanup)
    except KeyboardInterrupt:
        narrator.plain("\nInterrupted.")
        code = _INTERRUPTED
    _ignore_signals()
    if not cleaning.clean(narrator, cleanup):
        code = code or 1
    return code


def _run(narrator: Narrator, cleanup: ExitStack) -> int:
    """Run the story; every error becomes a sentence."""
    try:
        choices = Choices.from_environment(os.environ)
        folder = cleanup.enter_context(cleaning.alone())
        Story(choices, narrator, folder, cleanup).run()
    except (DemoError, ClusterError, PartError) as error:
        narrator.error(f"The demo cannot go on. {error}")
        return 1
    except OSError as error:
        narrator.error(f"The demo cannot go on: {error.strerror or error} ({error.filename or 'no file'}).")
        return 1
    except Exception as error:  # noqa: BLE001 -- a user sees a message, never a traceback
        narrator.error(f"The demo cannot go on because of a bug in it: {type(error).__name__}: {error}")
        return 1
    if not choices.once:
        _wait_for_ctrl_c(narrator)
    for sentence in narrator.failures:
        narrator.error(f"Not as expected: {sentence}")
    return 1 if narrator.failures else 0


def _wait_for_ctrl_c(narrator: Narrator) -> None:
    narrator.say(f"The demo took {narrator.elapsed()}. Everything stays until you press Ctrl-C.")
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        return


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _ignore_signals()  # a second interrupt is ignored, since the cleanup follows
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
