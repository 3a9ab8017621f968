"""Delivers notices to the webhook's receiver. A root task of the operator, so that one replica delivers.

At least once: what was delivered is recorded after the answer. It must not hold up anything else: requests are made
outside of the circuit breaker, and what waits, waits in the database.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Final
from uuid import UUID

import structlog

from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.domain.notices import Notice, NoticeOutcome, Webhook
from flagschedule.ports.notifying import DueNotices, NoticeStore, NoticeTelemetry, Receiver
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.concurrently import for_each
from flagschedule.services.queue import Backoff

_log = structlog.get_logger()
_LOOK: Final = 1.0  # seconds
_BATCH: Final = 20
_AT_ONCE: Final = 4
BACKOFF: Final = Backoff(10, 3600)
_LONGEST_PROBE: Final = 60.0  # seconds between tries while the receiver takes nothing
_PATIENCE: Final = 3 * 86_400.0  # seconds after which a notice is dropped
_HELD_LOOK: Final = 5.0
_REST: Final = 20  # times the duration of a look at what is held, which may be thousands of changes
_GONE: Final = (
    "the receiver answered 410 Gone, so nothing is sent to it any more; set another URL, or restart the operator to "
    "try this one again; what happens meanwhile waits for three days"
)


class Notifier:
    """Looks each second for what is to be delivered."""

    def __init__(
        self,
        store: NoticeStore,
        receiver: Receiver,
        breaker: CircuitBreaker,
        telemetry: NoticeTelemetry,
        webhook: Callable[[], Webhook],
        *,
        cluster: str,
        frozen: bool,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._store = store
        self._receiver = receiver
        self._breaker = breaker
        self._telemetry = telemetry
        self._webhook = webhook
        self._cluster = cluster
        self._frozen = frozen
        self._backoff = backoff
        self._probes = Backoff(backoff.first, min(backoff.longest, _LONGEST_PROBE))
        self._failures = 0  # turns after each other in which the receiver took nothing
        self._fault: str | None = None  # what was logged last
        self._gone: str | None = None  # the URL that has answered 410

    async def run_forever(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver(), name="deliveries")
            group.create_task(self._collect(), name="notices")

    async def _collect(self) -> None:
        """Add notices that no consumer of status entries adds."""
        loop = asyncio.get_running_loop()
        held_at = loop.time()
        while True:
            try:
                await self._breaker.run(self._store.add_released)
                if self._frozen and loop.time() >= held_at:
                    began = loop.time()
                    await self._breaker.run(self._store.add_held)
                    held_at = loop.time() + max(_HELD_LOOK, _REST * (loop.time() - began))
            except Exception:  # noqa: BLE001 -- one failure must not stop later notices
                _log.exception("Notices not collected")
            await asyncio.sleep(_LOOK)

    async def _deliver(self) -> None:
        while True:
            try:
                pause = await self._turn()
            except Exception:  # noqa: BLE001 -- one failure must not stop later notices
                _log.exception("Notices not delivered")
                pause = self._backoff.first
            await asyncio.sleep(pause)

    async def _turn(self) -> float:
        """Deliver some notices.

        Returns:
            the seconds until the next turn.
        """
        if dropped := await self._breaker.run(partial(self._store.drop, _PATIENCE)):
            self._telemetry.noticed(NoticeOutcome.DROPPED, dropped)
            _log.error("Notices dropped", notices=dropped, error="they could not be delivered within three days")
        # While the receiver takes nothing, one notice finds out whether it does again. Each time it is another one, so
        # that a notice that the receiver refuses does not keep the others.
        limit = 1 if self._failures else _BATCH
        due = await self._breaker.run(partial(self._store.due, limit))
        if not due.notices:
            return _LOOK
        try:
            webhook = self._webhook()
        except DependencyUnavailableError as error:
            self._warn(str(error))
            return self._backoff.first
        if self._has_ended(webhook):
            return _LOOK
        tries = await self._send(webhook, due)
        if None in tries.values():
            self._failures = 0
            return 0 if len(due.notices) == limit else _LOOK
        self._failures += 1
        return self._probes.pause(self._failures - 1)

    async def _send(self, webhook: Webhook, due: DueNotices) -> Mapping[UUID, float | None]:
        """Send notices, and record what became of them, as far as this got."""
        tries: dict[UUID, float | None] = {}

        async def send(notice: Notice) -> None:
            if self._has_ended(webhook):
                return
            body = notice.body(self._cluster)
            fault = await self._post(webhook, webhook.headers(notice.id, due.now, body), body)
            if self._has_ended(webhook):
                return
            tries[notice.id] = self._backoff.pause(notice.failures) if fault else None
            self._telemetry.noticed(NoticeOutcome.FAILED if fault else NoticeOutcome.DELIVERED)
            self._warn(fault)

        await for_each(due.notices, send, at_once=_AT_ONCE)
        if tries:
            await self._breaker.run(partial(self._store.record, tries))
        return tries

    async def _post(self, webhook: Webhook, headers: Mapping[str, str], body: bytes) -> str | None:
        """Send one notice.

        Returns:
            what went wrong; None if it was delivered.
        """
        try:
            status = await self._receiver.post(webhook.url, headers, body)
        except DependencyUnavailableError as error:
            return str(error)
        if status == HTTPStatus.GONE and not self._has_ended(webhook):
            self._gone = webhook.url
            _log.error("Webhook ended", error=_GONE)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return f"the receiver redirects (HTTP {status}), which is not followed; let the URL name the place itself"
        return None if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES else f"the receiver answered HTTP {status}"

    def _has_ended(self, webhook: Webhook) -> bool:
        return webhook.url == self._gone

    def _warn(self, fault: str | None) -> None:
        """Log a fault when it is new, and its end."""
        if fault == self._fault:
            return
        if fault is None:
            _log.info("Notices can be delivered again")
        else:
            _log.warning("Notices cannot be delivered and are kept for later", error=fault)
        self._fault = fault
