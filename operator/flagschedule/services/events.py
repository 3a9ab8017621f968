"""Posts an Event for every edge of an object's status. Fed by the status writer, and a root task of the operator.

Events are a courtesy: they wait in memory, and are lost rather than waited for. Whatever goes wrong here must not
be felt by the status writer or the mirror, and is logged once.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from flagschedule.domain import events
from flagschedule.domain.errors import FlagScheduleError
from flagschedule.domain.schedule import ObjectRef
from flagschedule.ports import ObjectClient
from flagschedule.services.queue import RetryQueue

_log = structlog.get_logger()
_WAITING: Final = 10_000  # some megabytes; a first adoption of more objects than that loses Events


@dataclass(frozen=True)
class _Recorded:
    """An Event that waits to be posted."""

    ref: ObjectRef
    event: events.Event
    at: datetime


class EventRecorder:
    """One Event at a time, so that a slow API server is asked for little; namespaces take turns."""

    def __init__(self, client: ObjectClient) -> None:
        self._client = client
        self._waiting: RetryQueue[_Recorded] = RetryQueue(
            self._post, at_once=1, group=lambda recorded: recorded.ref.namespace
        )
        self._troubles: set[str] = set()

    def record(self, ref: ObjectRef, transition: events.Transition, at: datetime) -> None:
        """Post the Events of a transition that this replica has written to the status, at the time of its look."""
        for event in transition.events:
            if len(self._waiting) < _WAITING:
                self._waiting.add(_Recorded(ref, event, at))
            else:
                self._complain("too many wait to be posted")

    async def post_forever(self) -> None:
        """Post what was recorded; what cannot be posted is forgotten."""
        await self._waiting.run()

    async def _post(self, recorded: _Recorded) -> None:
        try:
            await self._client.post_event(recorded.ref, recorded.event, recorded.at)
        except FlagScheduleError as error:
            self._complain(str(error))
        except Exception:  # noqa: BLE001 -- a courtesy must not be tried again and again
            self._complain("unexpected")

    def _complain(self, why: str) -> None:
        if why not in self._troubles:
            _log.warning("Events are lost", error=why)
        self._troubles.add(why)
