"""What the notifier needs: the outbox of notices, and a way to the receiver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from flagschedule.domain.notices import Notice, NoticeOutcome


@dataclass(frozen=True, kw_only=True)
class DueNotices:
    """Notices whose try is due, and the database's time."""

    now: datetime
    notices: Sequence[Notice]


class NoticeStore(Protocol):
    """The outbox of this operator's own cluster name.

    Every method raises DependencyUnavailableError where the database cannot serve it.
    """

    async def due(self, limit: int) -> DueNotices:
        """Return notices whose try is due: the oldest of each namespace, in turns."""

    async def record(self, tries: Mapping[UUID, float | None]) -> None:
        """Record tries: None where the notice was delivered, else in how many seconds it is tried again."""

    async def drop(self, seconds: float) -> int:
        """Give up what was not delivered for so long. Returns how many notices that were."""

    async def add_held(self) -> None:
        """Add a notice for each change that is due and that a freeze holds, if it has none yet."""

    async def add_released(self) -> None:
        """Add notices for outcomes of objects that are deleted, whose status is not written any more."""


class Receiver(Protocol):
    """Sends one request."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Return the status of the answer; redirects are not followed.

        Raises:
            DependencyUnavailableError: there was no answer in time, with a sentence that shows nothing of the URL.
        """


class NoticeTelemetry(Protocol):
    """Counts what became of notices."""

    def noticed(self, outcome: NoticeOutcome, count: int = 1) -> None:
        """Count tries that succeeded or failed, or notices that were dropped."""
