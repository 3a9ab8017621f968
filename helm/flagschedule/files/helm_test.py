"""`helm test`: changes a flag of its own by a FlagSchedule, waits for the change, and deletes the object again.

Runs in a pod, with nothing but Python's standard library. The one argument is the folder of the account's token.
"""

import json
import os
import random
import ssl
import sys
import time
import urllib.error
import urllib.request
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

_KIND: Final = "/apis/flagschedule.io/v1alpha1/namespaces/{NAMESPACE}/flagschedules".format_map(os.environ)
_DUE_IN: Final = timedelta(seconds=5)
_ENDED: Final = {"Failed", "Expired", "Invalid", "Superseded", "Skipped", "Cancelled"}
_MISSING: Final = """\
Create this flag once, for this test alone, and run the test again:
  INSERT INTO feature_flags (flag_key, environment) VALUES ('{FLAG_KEY}', '{ENVIRONMENT}');
Another flag: the values helmTest.flagKey and helmTest.environment."""


class TestFailedError(Exception):
    """The installation does not work; the text says why."""


class ApiServer:
    """The API server, as the pod's account reaches it."""

    def __init__(self, folder: Path) -> None:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        self._server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self._token = (folder / "token").read_text().strip()
        self._context = ssl.create_default_context(cafile=str(folder / "ca.crt"))

    def now(self) -> Any:
        """Return the time of the API server, which is what judges whether a time is in the future."""
        return parsedate_to_datetime(self._send("GET", "/version")[1]["Date"])

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request. Returns: the object of the answer.

        Raises:
            TestFailedError: the API server refuses it, or cannot be reached.
        """
        return self._send(method, path, body)[0]

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._server + path, data, headers, method=method)  # noqa: S310 -- https only
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=30) as answer:  # noqa: S310 -- https only
                return json.load(answer), answer.headers
        except urllib.error.HTTPError as error:
            raise TestFailedError(f"{method} {path}: {json.load(error).get('message')}") from error
        except OSError as error:
            raise TestFailedError(f"The API server cannot be reached: {error}") from error


def _wait(api_server: ApiServer, name: str, wanted: int) -> str:
    """Wait until the change is made. Returns: what the status says of it."""
    deadline = time.monotonic() + int(os.environ["TIMEOUT_SECONDS"])
    shown = ""
    while True:
        status = api_server.request("GET", f"{_KIND}/{name}").get("status", {})
        phase = status.get("phase", "without a status: does the operator run?")
        said = f"{phase}: {status.get('message', '')}"
        if said != shown:
            _print(said)
            shown = said
        if phase == "Applied":
            after = status.get("flag", {}).get("after", {}).get("rolloutPercentage")
            if after != wanted:
                raise TestFailedError(f"The flag has {after} % after the change, and not {wanted} %.")
            return str(status.get("change"))
        if status.get("reason") == "FlagNotFound":
            raise TestFailedError(_MISSING.format_map(os.environ))
        if phase in _ENDED:
            raise TestFailedError(f"The change was not made: {said}")
        if time.monotonic() > deadline:
            raise TestFailedError(f"Not applied in time; the last status was {said}")
        time.sleep(1)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the test. Returns: the exit code, 1 if the installation does not work."""
    wanted = random.randint(1, 99)  # noqa: S311 -- no secret; so that each run is a change
    try:
        api_server = ApiServer(Path(sys.argv[1]))
        at = api_server.now() + _DUE_IN
        created = api_server.request("POST", _KIND, {
            "apiVersion": "flagschedule.io/v1alpha1",
            "kind": "FlagSchedule",
            "metadata": {"generateName": "helm-test-"},
            "spec": {
                "flagKey": os.environ["FLAG_KEY"],
                "environment": os.environ["ENVIRONMENT"],
                "scheduledAt": f"{at:%Y-%m-%dT%H:%M:%SZ}",
                "updates": {"rolloutPercentage": wanted},
            },
        })  # fmt: skip
        name = created["metadata"]["name"]
        try:
            _print(f"{name} applied: {_wait(api_server, name, wanted)}")
        finally:
            api_server.request("DELETE", f"{_KIND}/{name}")
    except TestFailedError as error:
        _print(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
