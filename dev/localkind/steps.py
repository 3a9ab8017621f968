"""Runs programs and shows progress at the terminal; used by the modules that build images."""

import contextlib
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_QUIET_SECONDS = 15.0  # off a terminal, one line of progress that often


class StepFailedError(Exception):
    """A program that the build needs failed; the text says which, why, and what to do."""


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a piece of work and print how long it took."""
    print(f"{title} ...", flush=True)
    start = time.monotonic()
    yield
    print(f"{title}: done in {time.monotonic() - start:.1f} s", flush=True)


def output(command: Sequence[str | Path]) -> str | None:
    """Return the output of a short command; None if the program is absent or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, stdin: str | None = None) -> None:
    """Run a program that takes its time, showing its latest line as progress.

    Raises:
        StepFailedError: it failed; the text holds the end of its output.
    """
    try:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise StepFailedError(f"The program {command[0]} is missing.") from error
    with process:
        if process.stdin and stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
        tail = _follow(process)
    if process.returncode:
        last = "\n  ".join(tail)
        raise StepFailedError(f"{command[0]} failed with exit code {process.returncode}. Its last lines:\n  {last}")


def _follow(process: subprocess.Popen[str]) -> Sequence[str]:
    """Show the lines of a running program. Returns: the last of them."""
    tail: deque[str] = deque(maxlen=20)
    terminal, start, shown = sys.stdout.isatty(), time.monotonic(), time.monotonic()
    for line in process.stdout or ():
        tail.append(line.rstrip())
        now = time.monotonic()
        if terminal:
            print(f"\r\033[K  {now - start:4.0f} s  {tail[-1][:100]}", end="", flush=True)
        elif now - shown > _QUIET_SECONDS:
            print(f"  {now - start:4.0f} s  {tail[-1][:100]}", flush=True)
            shown = now
    if terminal:
        print("\r\033[K", end="", flush=True)
    return tail
