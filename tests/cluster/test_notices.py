"""The operator's program sends a notice of a change, and a receiver that is away delays no status."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.cluster.api import Api, eventually
from tests.cluster.operator_fixtures import Operator, Scene
from tests.integration.database import connected

pytestmark = pytest.mark.apiserver

KEY = "whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjItaHVudGVyMg=="


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted; while `is_away` it answers 503."""

    is_away = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: list[Any] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}/hunter2"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Verify a notice and keep it."""
        assert isinstance(self.server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.is_away:
            self.server.events.append(Webhook(KEY).verify(body, dict(self.headers)))
        self.send_response(503 if self.server.is_away else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- the library's name
        """Print nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that is away at first."""
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_change_has_its_notice_after_its_status(
    api: Api, database_url: str, new_operator: Callable[..., Operator], receiver: Receiver
) -> None:
    """While the receiver is away the object shows Applied; then it gets one signed event. No log shows its URL."""
    with connected(database_url) as database:
        database.flag("checkout")
        scene = Scene(api, database, new_operator(database_url, WEBHOOK_URL=receiver.url, WEBHOOK_SIGNING_KEYS=KEY))
        scene.operator.start()
        scene.create("launch")
        scene.reaches("launch", "Pending")
        database.run("UPDATE feature_flag_schedules SET scheduled_at = now()")
        scene.process()
        scene.reaches("launch", "Applied")
        eventually(lambda: scene.operator.lines("Notices cannot be delivered and are kept for later"), "it is logged")

        receiver.is_away = False

        (event,) = eventually(lambda: receiver.events, "the notice is delivered")
        assert (event["type"], event["subject"]) == ("io.flagschedule.change.applied", "production/checkout")
        assert (event["data"]["name"], event["data"]["after"]["enabled"]) == ("launch", True)
        assert "hunter2" not in scene.operator.log.read_text()
