"""Runs kubectl, so that contexts, logins and proxies are the user's own.

What kubectl writes to standard error is shown at once unless it is an error: a login may wait for the user there.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

from flagschedule.plugin import text
from flagschedule.plugin.errors import KubectlError, PluginError

FIELD_MANAGER: Final = "--field-manager=flagschedule"  # Flux undoes managers whose name begins with kubectl
_ERRORS: Final = (b"Error", b"error", b"The ", b"Warning")
_CHUNK: Final = 65536
_SHOWN: Final = 200


class Kubectl:
    """kubectl with the user's flags for the connection."""

    def __init__(self, flags: Sequence[str] = (), *, standard_error: IO[bytes] | None = None) -> None:
        """Keep the flags that each call gets, such as `--context=...`."""
        self._flags = flags
        self._standard_error = standard_error
        self._lock = threading.Lock()
        self._warned: set[str] = set()

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Return what kubectl prints.

        Raises:
            KubectlError: it failed.
            PluginError: there is no kubectl.
        """
        code, output, error = self._run(words, stdin)
        if code != 0:
            raise KubectlError("\n".join(text.lines(error)) or f"kubectl ended with exit code {code}")
        return output

    def objects(self, *words: str, stdin: str | None = None) -> list[dict[str, Any]]:
        """Return the objects that kubectl prints as JSON: one, several in a row, or a list of them.

        Raises:
            KubectlError: it failed.
        """
        return list(_objects(self.run(*words, "--output=json", stdin=stdin)))

    def objects_and_faults(self, *words: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the objects that kubectl prints, also where it failed for others, and its errors."""
        code, output, error = self._run([*words, "--output=json"], None)
        return list(_objects(output)), text.lines(error) if code else []

    def _run(self, words: Sequence[str], stdin: str | None) -> tuple[int, str, str]:
        command = ["kubectl", *words[:1], *self._flags, *words[1:]]
        try:
            process = subprocess.Popen(
                command,
                stdin=None if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError as missing:
            raise PluginError("kubectl is not in PATH; install it, or add its folder to PATH") from missing
        except OSError as fault:  # no right to execute it, or it is made for another processor
            raise PluginError(f"kubectl in PATH cannot be started: {text.clean(fault.strerror)}") from fault
        with process:
            error = bytearray()
            reader = threading.Thread(target=self._pass_on, args=(process.stderr, error))
            reader.start()
            if process.stdin is not None:
                writer = threading.Thread(target=_write, args=(process.stdin, stdin or ""))
                writer.start()
            output = process.stdout.read() if process.stdout else b""
            reader.join()
            code = process.wait()
        errors = error.decode("utf-8", "replace")
        if code == 0:
            self._warn(errors)
        return code, output.decode("utf-8", "replace"), errors

    def _warn(self, errors: str) -> None:
        """Show the API server's warnings of a call that succeeded, each of them once for all calls."""
        with self._lock:
            for line in text.lines(errors) if errors.encode().startswith(_ERRORS) else ():
                if self._standard_error is not None and line not in self._warned:
                    self._warned.add(line)
                    self._standard_error.write(f"{line}\n".encode())
                    self._standard_error.flush()

    def _pass_on(self, stream: IO[bytes], kept: bytearray) -> None:
        while chunk := os.read(stream.fileno(), _CHUNK):
            kept += chunk
            if self._standard_error is not None and not kept.startswith(_ERRORS):
                self._standard_error.write(chunk)
                self._standard_error.flush()


def _write(stream: IO[bytes], content: str) -> None:
    try:
        stream.write(content.encode())
        stream.close()
    except BrokenPipeError:  # kubectl ended before it had read everything; its error says why
        pass


def _objects(output: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    rest = output.strip()
    while rest:
        try:
            found, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            raise KubectlError(f"kubectl did not answer with JSON, but: {text.clean(rest[:_SHOWN])}") from None
        is_list = isinstance(found, dict) and str(found.get("kind")).endswith("List")
        items = (found.get("items") or []) if is_list else [found]  # Go writes an empty list as null
        if not isinstance(items, list) or not all(map(_is_object, items)):
            raise KubectlError(f"kubectl did not answer with objects, but: {text.clean(rest[:_SHOWN])}")
        yield from items
        rest = rest[end:].lstrip()


def _is_object(found: object) -> bool:
    return isinstance(found, dict) and isinstance(found.get("kind"), str)
