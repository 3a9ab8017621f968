"""What the operator needs from the API server."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from flagschedule.domain.events import Event
from flagschedule.domain.schedule import ObjectRef

_O_co = TypeVar("_O_co", covariant=True)
_S_contra = TypeVar("_S_contra", contravariant=True)


class ObjectClient(Protocol[_O_co, _S_contra]):
    """The API server, for the objects of one kind and their statuses.

    Every method raises DependencyUnavailableError where the API server cannot serve it.
    """

    async def get(self, ref: ObjectRef) -> _O_co:
        """The live object. Raises ObjectGoneError if it is gone or another uid has its name."""

    def list(self) -> AsyncIterator[_O_co]:
        """Every live object in the operator's namespaces, page by page; one that cannot be read is left out."""

    async def write_status(self, ref: ObjectRef, resource_version: str, status: _S_contra) -> None:
        """Replace the status, only of this uid and only at this version.

        Raises:
            ObjectChangedError: the object changed meanwhile, or another uid has its name.
            ObjectGoneError: there is no such object.
        """

    async def write_finalizers(self, ref: ObjectRef, resource_version: str, finalizers: Sequence[str]) -> _O_co:
        """Replace the finalizers, only of this uid and only at this version.

        Returns:
            The object as it is then.

        Raises:
            ObjectChangedError: the object changed meanwhile, or another uid has its name.
            ObjectGoneError: there is no such object.
        """

    async def post_event(self, ref: ObjectRef, event: Event, at: datetime) -> None:
        """Post an Event that says what happened to the object."""

    async def cluster_uid(self) -> str:
        """Return the uid of the namespace that names the cluster, kube-system unless a setting says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who works, and until when without another renewal.

    `renewal` changes with each renewal and has no other meaning; `body` goes back with the next write.
    """

    holder: str
    renewal: str
    duration: float
    body: Mapping[str, Any]


class LeaseStore(Protocol):
    """Stores which of the operator's replicas holds the lease.

    Both methods raise DependencyUnavailableError where the API server cannot serve them.
    """

    async def read(self) -> Lease | None:
        """The lease as it is now; None if there was never one."""

    async def write(self, before: Lease | None, holder: str, duration: float) -> None:
        """Replace the lease that was read by one of this holder, or of none (the empty string).

        Raises:
            ObjectChangedError: another replica has written it since it was read, or it was deleted since.
            ObjectGoneError: its namespace does not exist.
        """
