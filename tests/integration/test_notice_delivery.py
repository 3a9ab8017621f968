"""What becomes of notices on their way to a real HTTP server, and that nothing else waits for it."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from standardwebhooks import Webhook as Verifier
from structlog.testing import capture_logs

from flagschedule import logs
from flagschedule.adapters.postgres.notice_store import PostgresNoticeStore
from flagschedule.adapters.prometheus import PrometheusTelemetry
from flagschedule.adapters.webhook import HttpReceiver
from flagschedule.domain.notices import Webhook, parse_keys
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.notifier import Notifier
from flagschedule.services.queue import Backoff
from tests.integration.database import Database
from tests.integration.test_notices import World, world
from tests.support.asynchronous import reaches
from tests.support.receiver import endless, never, receiving

KEYS: Final = (
    "whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjItaHVudGVyMg==",
    "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
)
SOON: Final = Backoff(0.05, 0.1)
_INSERT: Final = """
INSERT INTO flag_schedule_notices (cluster, namespace, event, subject, happened_at, data)
SELECT 'default', %s, 'applied', 'production/' || n, now(), jsonb_build_object('number', n)
FROM generate_series(1, %s) AS n
"""


@dataclass
class Operator:
    """The part of an operator that delivers; `url` and `keys` are what its Secret holds now."""

    on: World
    url: str
    keys: str = KEYS[0]
    timeout: float = 10

    def __post_init__(self) -> None:
        self.telemetry = PrometheusTelemetry()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver meanwhile."""
        async with HttpReceiver(self.timeout) as receiver:
            notifier = Notifier(
                PostgresNoticeStore(self.on.store, "default", ()),
                receiver,
                CircuitBreaker(self.on.store.ping, 5, 2),
                self.telemetry,
                lambda: Webhook(url=self.url, keys=parse_keys(self.keys)),
                cluster="default",
                frozen=True,
                backoff=SOON,
            )
            task = asyncio.create_task(notifier.run_forever())
            yield
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def counted(self, outcome: str) -> float:
        """Return how many notices had this outcome."""
        text = self.telemetry.text(None, leads=True).decode()
        (found,) = re.findall(rf'flagschedule_notices_total{{outcome="{outcome}"}} (\S+)', text)
        return float(found)


def add(database: Database, count: int = 1, namespace: str = "shop") -> None:
    """Insert notices."""
    database.run(_INSERT, namespace, count)


def waiting(database: Database) -> int:
    """Return how many notices were neither delivered nor dropped."""
    found: int = database.value("SELECT count(*) FROM flag_schedule_notices WHERE ended_at IS NULL")
    return found


async def test_a_receiver_that_fails_twice_gets_the_same_notice_three_times(database_url: str) -> None:
    """500, 500, 200: one id in three deliveries of the same bytes, and no fourth one."""
    async with world(database_url) as on, receiving(500, 500, 200) as receiver:
        add(on.database)
        operator = Operator(on, receiver.url)

        async with operator.running():
            await reaches(lambda: waiting(on.database) == 0)

        assert len(receiver.deliveries) == 3
        assert len({(delivery.id, delivery.body) for delivery in receiver.deliveries}) == 1
        assert receiver.deliveries[0].event["id"] == receiver.deliveries[0].id
        assert receiver.deliveries[0].headers["Content-Type"].startswith("application/cloudevents+json")
        assert (operator.counted("failed"), operator.counted("delivered")) == (2, 1)


async def test_an_operator_that_ends_before_the_commit_sends_the_same_id_again(database_url: str) -> None:
    """At least once: the receiver has it, the database does not know, and the next operator delivers it again."""
    async with world(database_url) as on, receiving() as receiver:
        add(on.database)
        receiver.answer = never
        async with Operator(on, receiver.url).running():
            await reaches(lambda: receiver.deliveries)
        receiver.answer = None

        async with Operator(on, receiver.url).running():
            await reaches(lambda: waiting(on.database) == 0)

        first, second = receiver.deliveries
        assert (first.id, first.body) == (second.id, second.body)


async def test_after_four_days_a_notice_is_dropped(database_url: str) -> None:
    """It is counted, logged and not sent any more; a younger one is."""
    async with world(database_url) as on, receiving() as receiver:
        add(on.database, 2)
        on.database.run(
            "UPDATE flag_schedule_notices SET created_at = now() - interval '4 days' WHERE subject = 'production/1'"
        )
        operator = Operator(on, receiver.url)

        with capture_logs() as lines:
            async with operator.running():
                await reaches(lambda: waiting(on.database) == 0)

        assert [delivery.event["subject"] for delivery in receiver.deliveries] == ["production/2"]
        assert (operator.counted("dropped"), operator.counted("delivered")) == (1, 1)
        assert [line["notices"] for line in lines if line["event"] == "Notices dropped"] == [1]


async def test_a_receiver_that_never_answers_delays_nothing_else(database_url: str) -> None:
    """Meanwhile a change is mirrored, made and its status entry consumed; the notices wait."""
    async with world(database_url) as on, receiving() as receiver:
        receiver.answer = never
        add(on.database, 50)
        async with Operator(on, receiver.url).running():
            await reaches(lambda: len(receiver.deliveries) == 4)
            flag = on.database.flag("checkout-v2")

            async with asyncio.timeout(5):
                await on.planned()
                on.process()
                await on.consume()

            assert on.database.state(flag) == (True, 0)
            assert on.database.value("SELECT count(*) FROM flag_schedule_status_outbox") == 0
            assert (waiting(on.database), len(receiver.deliveries)) == (51, 4)


async def test_no_answer_in_time_is_a_failure_and_the_next_try_succeeds(database_url: str) -> None:
    """A request ends after its timeout, and is made again."""
    async with world(database_url) as on, receiving() as receiver:
        receiver.answer = never
        add(on.database)
        operator = Operator(on, receiver.url, timeout=0.1)
        async with operator.running():
            await reaches(lambda: operator.counted("failed") >= 1)
            receiver.answer = None

            await reaches(lambda: waiting(on.database) == 0)


async def test_an_answer_without_an_end_is_not_read(database_url: str) -> None:
    """The status is what counts; a body of any length costs neither memory nor time."""
    async with world(database_url) as on, receiving() as receiver:
        receiver.answer = endless
        add(on.database, 5)

        async with asyncio.timeout(5), Operator(on, receiver.url, timeout=60).running():
            await reaches(lambda: waiting(on.database) == 0)

        assert len(receiver.deliveries) == 5


async def test_two_keys_make_two_signatures(database_url: str) -> None:
    """While the keys are changed the receiver verifies with the old one or the new one, by the public library."""
    async with world(database_url) as on, receiving() as receiver:
        add(on.database)

        async with Operator(on, receiver.url, keys=" ".join(KEYS)).running():
            await reaches(lambda: waiting(on.database) == 0)

        (delivery,) = receiver.deliveries
        assert len(delivery.headers["webhook-signature"].split()) == 2
        for key in KEYS:
            assert Verifier(key).verify(delivery.body, dict(delivery.headers)) == delivery.event


async def test_410_ends_it_until_the_url_changes_or_the_operator_restarts(database_url: str) -> None:
    """What happens meanwhile waits; it is said once; a new URL in the Secret, or a restart, begins again."""
    async with world(database_url) as on, receiving(410, 410) as receiver:
        add(on.database)
        operator = Operator(on, receiver.url)
        with capture_logs() as lines:
            async with operator.running():
                await reaches(lambda: receiver.deliveries)
                add(on.database)
                await asyncio.sleep(2.5)  # two more looks, in which nothing may be sent
                assert (len(receiver.deliveries), waiting(on.database)) == (1, 2)
        assert [line["event"] for line in lines] == ["Webhook ended"]

        async with operator.running():
            await reaches(lambda: len(receiver.deliveries) > 1)
            operator.url += "/new"
            await reaches(lambda: waiting(on.database) == 0)

        assert [delivery.path for delivery in receiver.deliveries][-2:] == ["/hunter2/new"] * 2


async def test_a_redirect_is_not_followed(database_url: str) -> None:
    """What a receiver redirects to gets no notice and no signature; the failure says what to do."""
    async with world(database_url) as on, receiving() as receiver:

        async def redirect(_: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": "/elsewhere"})

        receiver.answer = redirect
        add(on.database)
        with capture_logs() as lines:
            async with Operator(on, receiver.url).running():
                await reaches(lambda: len(receiver.deliveries) == 3)

        assert {delivery.path for delivery in receiver.deliveries} == {"/hunter2"}
        assert "let the URL name the place itself" in lines[0]["error"]
        assert waiting(on.database) == 1


async def test_a_notice_that_is_refused_keeps_no_other_one(database_url: str) -> None:
    """The receiver may not like one of them: the others are delivered, also while it is tried again and again."""
    async with world(database_url) as on, receiving() as receiver:

        async def refuse_one(_: web.Request) -> web.StreamResponse:
            is_refused = receiver.deliveries[-1].event["subject"] == "production/7"
            return web.Response(status=400 if is_refused else 200)

        receiver.answer = refuse_one
        add(on.database, 50)

        async with Operator(on, receiver.url).running():
            await reaches(lambda: waiting(on.database) == 1)
            add(on.database, 5, namespace="later")
            await reaches(lambda: waiting(on.database) == 1)

        assert on.database.value("SELECT subject FROM flag_schedule_notices WHERE ended_at IS NULL") == "production/7"


async def test_a_receiver_that_is_away_gets_one_request_at_a_time(database_url: str) -> None:
    """After a first batch of 20 one notice looks whether it is back, however many wait."""
    async with world(database_url) as on, receiving(*[500] * 25) as receiver:
        add(on.database, 100)

        async with Operator(on, receiver.url).running():
            await reaches(lambda: waiting(on.database) == 0)

        failures = on.database.value("SELECT sum(failures) FROM flag_schedule_notices")
        assert (failures, len(receiver.deliveries)) == (25, 125)


async def test_namespaces_take_turns(database_url: str) -> None:
    """The thousand notices of one namespace do not hide the one of another."""
    async with world(database_url) as on:
        add(on.database, 1000, "flood")
        add(on.database, 1, "quiet")

        due = await PostgresNoticeStore(on.store, "default", ()).due(2)

        found = {notice.id for notice in due.notices}
        (quiet,) = on.database.query("SELECT id FROM flag_schedule_notices WHERE namespace = 'quiet'")
        assert quiet["id"] in found


@contextmanager
def everything_logged() -> Iterator[None]:
    """Log at DEBUG, with what libraries say."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure("DEBUG", "json")
    try:
        yield
    finally:
        root.handlers[:], root.level = before


@pytest.mark.parametrize(
    "url",
    [
        "https://no-such-host.invalid/hunter2",
        "http://hunter2:hunter3@127.0.0.1:1/hunter2",
        "https://{receiver}/hunter2",
        "http://{receiver}/hunter2",
        "http://{receiver}/hunter2/\x7f",
    ],
)
async def test_no_url_and_no_secret_is_logged_or_measured(
    database_url: str, capfd: pytest.CaptureFixture[str], url: str
) -> None:
    """With any fault in it, at DEBUG, too."""
    async with world(database_url) as on, receiving(500) as receiver:
        address = urlsplit(receiver.url)
        add(on.database)
        operator: Any = Operator(on, url.format(receiver=address.netloc))

        with everything_logged():
            async with operator.running():
                await reaches(lambda: operator.counted("failed") > 0)

        shown = capfd.readouterr().err + operator.telemetry.text(None, leads=True).decode()
        assert "Notices cannot be delivered" in shown
        assert re.findall(rf"hunter|no-such-host|127\.0\.0\.1|{address.port}|{KEYS[0][6:]}", shown) == []
