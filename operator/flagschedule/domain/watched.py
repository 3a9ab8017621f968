"""What the operator needs to know of an object of any kind, to reconcile it."""

from collections.abc import Hashable
from datetime import datetime
from typing import Protocol, Self

from flagschedule.domain.schedule import ObjectRef


class Watched(Protocol):
    """An object as it was read from the API server."""

    @property
    def ref(self) -> ObjectRef:
        """Which object."""

    @property
    def generation(self) -> int:
        """The version of its spec."""

    @property
    def resource_version(self) -> str:
        """The version of the whole object."""

    @property
    def deleting(self) -> bool:
        """Whether it is being deleted."""

    @property
    def finalizers(self) -> tuple[str, ...]:
        """What must be done before it is removed."""

    @property
    def has_finalizer(self) -> bool:
        """Whether it carries our finalizer, so that its deletion cannot go unseen."""

    @property
    def settled(self) -> bool:
        """Whether its status covers everything that it requests."""

    @property
    def stopping(self) -> bool:
        """Whether it requests to stop what may be planned, and that is not yet handled."""

    @property
    def observed(self) -> bool:
        """Whether an operator has ever written its status."""

    @property
    def due(self) -> datetime | None:
        """When it is due next, as far as it says so itself. Only for the order of work."""

    @property
    def requests(self) -> Hashable:
        """What its annotations request."""

    def with_requests_of(self, previous: Self) -> Self:
        """Keep a request that was removed before its turn, as Flux does within a second."""

    def as_deleted(self) -> Self:
        """Return the object as it is after its removal."""
