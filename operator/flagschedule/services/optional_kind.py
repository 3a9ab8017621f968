"""Lists the objects of a kind that the API server need not serve to the operator."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import structlog

from flagschedule.domain.errors import AccessForbiddenError, DependencyUnavailableError, KindMissingError
from flagschedule.domain.watched import Watched
from flagschedule.ports.cluster import ObjectClient

_log = structlog.get_logger()
_O = TypeVar("_O", bound=Watched)


class OptionalKind(Generic[_O]):
    """All objects of a kind. That it is not served is logged once, and that it is served later.

    Attributes:
        served: whether the API server serves it to us, at the last look; None while that is not known.
    """

    def __init__(self, client: ObjectClient[_O, Any], kind: str, *, meanwhile: str, interval: str) -> None:
        """Make one.

        Args:
            client: of the kind.
            kind: for the log, for example `FlagPlan`.
            meanwhile: what goes on without it.
            interval: how often it is listed where it is not watched.
        """
        self._client = client
        self._kind = kind
        self._meanwhile = meanwhile
        self._interval = interval
        self.served: bool | None = None

    async def prepare(self) -> None:
        """Wait until it is known whether it is served."""
        while self.served is None:
            with suppress(DependencyUnavailableError):
                await self.list()
                return
            await asyncio.sleep(1)

    async def list(self) -> Sequence[_O] | None:
        """Return all objects; None where they are not served.

        Raises:
            DependencyUnavailableError: the API server is away.
        """
        try:
            found = [obj async for obj in self._client.list()]
        except (AccessForbiddenError, KindMissingError) as error:
            if self.served is not False:
                what = "their CRD is not installed" if isinstance(error, KindMissingError) else "it may not list them"
                plural = f"{self._kind.lower()}s"
                _log.warning(
                    f"The operator works without {self._kind}s",
                    error=f"{what}; {self._meanwhile}. To use them, apply crds/{plural}.yaml "
                    f"and let the operator get, list, watch and patch {plural}, also their status",
                )
            self.served = False
            return None
        if self.served is False:
            _log.info(f"{self._kind}s are served now, and {self._interval}; restart the operator to watch them")
        self.served = True
        return found
