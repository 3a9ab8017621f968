"""What the operator needs from the database."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from flagschedule.domain.decision import Decision, Facts
from flagschedule.domain.errors import FlagScheduleError
from flagschedule.domain.outcome import Snapshot
from flagschedule.domain.schedule import FlagSchedule, ObjectRef, Uid
from flagschedule.ports.measuring import Backlog


@dataclass(frozen=True, kw_only=True)
class StatusEntry:
    """A row's outcome that waits to be written to its object; `id` deletes the entry."""

    id: int
    ref: ObjectRef


class OutcomeStore(Protocol):
    """Outcomes that objects of one kind shall show."""

    async def status_entries(self, limit: int, known: Sequence[int] = ()) -> Sequence[StatusEntry]:
        """Return outcomes that wait to be written, of objects that live: the oldest of each namespace, in turns.

        Args:
            limit: how many at most.
            known: the ids of entries to leave out.
        """

    async def delete_status_entries(self, ids: Sequence[int]) -> None:
        """Delete entries that were served."""


class Transaction(Protocol):
    """One decision on one object; waits for no other transaction."""

    async def facts(self) -> Facts:
        """Lock and read what the decision depends on."""

    async def save(self, decision: Decision) -> Snapshot:
        """Store the decision. Returns record and row as stored."""


class MirrorStore(OutcomeStore, Protocol):
    """Records and rows of this operator's own cluster name.

    Every method raises DependencyUnavailableError where the database cannot serve it.
    """

    def transaction(self, obj: FlagSchedule, *, flag_locked: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """Lock record and row of an object for one decision; committed at the end of the block.

        Args:
            obj: the object.
            flag_locked: the flag is known to be locked, and is not looked at.

        Raises:
            ConflictError: another transaction holds a lock; nothing was changed.
            StatementRefusedError: the database refuses this object's row, and would again.
        """

    async def snapshot(self, uid: Uid) -> Snapshot | None:
        """Record and row as they are; None if the object was never mirrored.

        Raises:
            StatementRefusedError: this object's values cannot be read.
        """

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """Every record that is not marked deleted, with its row, in the operator's namespaces."""

    async def waiting(self) -> Sequence[ObjectRef]:
        """Objects in state Waiting whose flag exists by now, or whose time has passed."""

    async def backlog(self) -> Backlog:
        """Return what waits in the whole database; `runs` are those since the last call, at first none."""

    async def claim_cluster(self, kube_system_uid: str) -> bool:
        """Take or keep this cluster name for this cluster; False while another live cluster holds it."""

    async def ping(self) -> None:
        """Return if the database can serve."""

    async def wait_until_refused(self) -> FlagScheduleError:
        """Return when no connection can ever be had: the reason to end the program with.

        The login has been refused for a minute, or the URL cannot be right, and no file holds another one.
        """
