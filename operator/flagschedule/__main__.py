"""What starts first, as `flagschedule` and as `python -m flagschedule`: it takes signals before anything is loaded.

A program that is process 1 of a container does not even notice a signal for which it has no handler. To load what a
program needs takes a second on a busy node; a run that was stopped in that second went on for 30 more.
"""

import os
import signal
import sys

_TERMINATED = 128 + signal.SIGTERM  # a shell's exit code


def main() -> int:
    """Run one program of FlagSchedule. Returns the exit code. Each program replaces the handler once it is loaded."""
    # No exception: a library that is being loaded may catch it, and in a destructor Python drops it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(_TERMINATED))
    from flagschedule import cli  # noqa: PLC0415 -- see above

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
