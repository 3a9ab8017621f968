"""Runs programs for the demo and the tests in pods.

Called by every module of this package. A program gets a session of its own, so that Ctrl-C reaches us alone and we
can end it in order; an interrupted demo leaves no process behind.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, Self

_END_SECONDS = 30.0
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoError(Exception):
    """Something a person must know: the text says what happened and what to do."""


class CommandFailedError(DemoError):
    """A program said no.

    Attributes:
        said: what it printed.
    """

    def __init__(self, command: str, said: str) -> None:
        super().__init__(f"`{command}` failed: {said or 'it printed nothing'}")
        self.said = said


class Run(Protocol):
    """Runs kubectl with these words."""

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        """Return what it printed. Raises CommandFailedError."""


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    stdout: int | IO[str] = subprocess.PIPE,
    stderr: int | IO[str] | None = subprocess.PIPE,
) -> str:
    """Run a program to its end and return its stdout.

    Args:
        command: the program and its words.
        env: what its environment has in addition to ours.
        cwd: the folder it runs in, if not ours.
        stdin: what it reads.
        stdout: where its output goes if not into the result.
        stderr: where its errors go if not into the exception; None is our own stderr.

    Raises:
        CommandFailedError: it failed; the text holds what it printed.
        DemoError: there is no such program.
    """
    words = [str(word) for word in command]
    with _HeldSignals() as held:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise DemoError(f"the program {words[0]} is not on this machine; run `make setup`") from error
        with process:
            try:
                held.release()
                output, errors = process.communicate(stdin)
            except BaseException:
                _end(process)
                raise
    if process.returncode:
        said = "\n".join(text.strip() for text in (errors, output) if text and text.strip())
        raise CommandFailedError(" ".join([Path(words[0]).name, *words[1:]]), said)
    return output or ""


class _HeldSignals:
    """Holds back what would interrupt us while a program is being started: we could not end what we do not know yet."""

    def __init__(self) -> None:
        self._former: dict[signal.Signals, Any] = {}
        self._came: list[int] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # the only one that is ever interrupted
            for number in _ENDINGS:
                self._former[number] = signal.signal(number, lambda came, _: self._came.append(came))
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let through what came meanwhile, and all that comes from now on."""
        while self._former:
            signal.signal(*self._former.popitem())
        while self._came:
            signal.raise_signal(self._came.pop())


@dataclass(frozen=True)
class Kubectl:
    """kubectl from the wheel, so that it is the same everywhere, with one kubeconfig and no other one.

    Attributes:
        kubeconfig: an absolute path.
        folder: where the files of its command line are, if not here.
    """

    kubeconfig: Path
    folder: Path | None = None

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        """Run it and return what it printed.

        Raises:
            CommandFailedError: it failed.
        """
        return run([kubectl_program(), *words], env=self.environment, cwd=self.folder, stdin=stdin)

    @property
    def environment(self) -> dict[str, str]:
        """What makes it see this cluster only, and keep its cache next to the kubeconfig."""
        return {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.kubeconfig.parent / "kubectl-cache")}


def kubectl_program() -> Path:
    """Return the kubectl that `make setup` installed."""
    return Path(sys.executable).with_name("kubectl")


def _end(process: subprocess.Popen[str]) -> None:
    """Let it and its children clean up, then insist."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
            return
