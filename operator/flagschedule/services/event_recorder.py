"""Posts an Event for every transition of an object's status. Fed by the status writer; a root task of the operator.

Events are best effort: they wait in memory and may be lost. A failure here must not reach the status writer or the
mirror, and is logged once.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import structlog

from flagschedule.domain import events
from flagschedule.domain.errors import FlagScheduleError
from flagschedule.domain.schedule import ObjectRef
from flagschedule.ports.cluster import ObjectClient
from flagschedule.services.queue import RetryQueue

_log = structlog.get_logger()
_WAITING: Final = 10_000  # some megabytes; a first adoption of more objects than that loses Events


class _Transition(Protocol):
    @property
    def events(self) -> tuple[events.Event, ...]:
        """What happened that people wait for."""


@dataclass(frozen=True)
class _Recorded:
    """An Event that waits to be posted."""

    ref: ObjectRef
    event: events.Event
    at: datetime


class EventRecorder:
    """Posts one Event at a time, so that a slow API server gets few requests; namespaces take turns."""

    def __init__(self, client: ObjectClient[Any, Any]) -> None:
        self._client = client
        self._waiting: RetryQueue[_Recorded] = RetryQueue(
            self._post, at_once=1, group=lambda recorded: recorded.ref.namespace
        )
        self._warned: set[str] = set()

    def record(self, ref: ObjectRef, transition: _Transition, at: datetime) -> None:
        """Post the Events of a transition that this replica has written to the status, at the time of its look."""
        for event in transition.events:
            if len(self._waiting) < _WAITING:
                self._waiting.add(_Recorded(ref, event, at))
            else:
                self._warn_once("too many wait to be posted")

    async def run_forever(self) -> None:
        """Post what was recorded until cancelled; what cannot be posted is dropped."""
        await self._waiting.run()

    async def _post(self, recorded: _Recorded) -> None:
        try:
            await self._client.post_event(recorded.ref, recorded.event, recorded.at)
        except FlagScheduleError as error:
            self._warn_once(str(error))
        except Exception:  # noqa: BLE001 -- best effort: it is not tried again
            self._warn_once("unexpected")

    def _warn_once(self, why: str) -> None:
        if why not in self._warned:
            _log.warning("Events are lost", error=why)
        self._warned.add(why)
