"""In which order the rows of a refused batch are tried."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast
from uuid import UUID

from flagschedule.domain.errors import UnexpectedRefusalError
from flagschedule.ports.processing import Batch, ClaimedRow
from flagschedule.services.processing.cache import CacheKeys
from flagschedule.services.processing.refusals import Refusals
from flagschedule.services.processing.report import Report

if TYPE_CHECKING:
    from flagschedule.ports.processing import ProcessStore

_TOO_SLOW = UnexpectedRefusalError("57014", "query_canceled", momentary=True, timed_out=True)


class _Store:
    """A store whose statements succeed, and that notes which rows they try."""

    def __init__(self) -> None:
        self.tried: list[list[UUID]] = []

    def reconnect(self) -> None:
        """See ports.processing.ProcessStore."""

    def check(self) -> None:
        """See ports.processing.ProcessStore."""

    def apply_only(self, ids: Sequence[UUID], **_: object) -> Batch:
        """See ports.processing.ProcessStore."""
        self.tried.append(list(ids))
        return Batch(handled=[], cache_entries={})


def _row(number: int, flag: int) -> ClaimedRow:
    return ClaimedRow(schedule_id=UUID(int=number), flag_id=UUID(int=flag), version="1")


def test_what_has_just_come_due_is_tried_before_what_is_late() -> None:
    """After a batch that took too long the latest flag comes first, and rows of one flag keep their order."""
    store = _Store()
    refusals = Refusals(Report(CacheKeys(None)), lambda: 60.0, lambda: None, show_host_texts=False)
    rows = [_row(1, flag=7), _row(2, flag=8), _row(3, flag=7), _row(4, flag=9)]

    refusals.quarantine(cast("ProcessStore", store), _TOO_SLOW, lambda: rows)
    while refusals.has_quarantine:
        refusals.isolate(cast("ProcessStore", store))

    assert [[id_.int for id_ in ids] for ids in store.tried] == [[4], [2], [1], [3]]
