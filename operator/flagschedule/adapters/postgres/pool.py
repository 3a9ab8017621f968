"""The operator's pool of sessions: a useless one is replaced, and a failure to connect has a reason."""

import asyncio
import select
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.errors import ReadOnlySqlTransaction
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from flagschedule.adapters.postgres import connection, values
from flagschedule.adapters.postgres.connection import Url
from flagschedule.adapters.postgres.session import AsyncSession
from flagschedule.domain.errors import (
    ConfigurationError,
    CredentialsRefusedError,
    DependencyUnavailableError,
    FlagScheduleError,
)

_TIMEOUT: Final = 5.0
_REFUSED_FOR_GOOD: Final = 60.0


class _PooledSession(AsyncSession):
    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> "_PooledSession":  # noqa: ARG003 -- psycopg's signature
        """See psycopg.AsyncConnection; called by the pool."""
        owner: SessionPool = options["owner"]
        return await owner.connect()


class SessionPool:
    """Sessions for one program. The database need not be there yet when it is opened.

    Attributes:
        refused: set when the login was refused for a minute or the URL cannot be right, and it is a fixed one. A file
            may be corrected while we wait.
        failure: why no session could be opened last; None if one could.
    """

    def __init__(self, url: Url, application_name: str, size: int) -> None:
        connection.parameters(url, application_name)  # raises at once if it is wrong
        self._url = url
        self._application_name = application_name
        self.failure: FlagScheduleError | None = None
        self._refused_since: float | None = None
        self.refused = asyncio.Event()
        self._pool = AsyncConnectionPool(
            connection_class=_PooledSession,
            kwargs={"owner": self},
            min_size=1,
            max_size=size,
            timeout=_TIMEOUT,
            reconnect_timeout=5,  # its own attempts grow to minutes apart; after this the next caller starts again
            open=False,
        )

    async def open(self) -> None:
        """Begin to connect."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all sessions."""
        # The operator ends by cancelling every task that Kopf might have started, in Python 3.11 also those that
        # the pool's helpers make for each wait; closing the pool then finds a helper cancelled, as it wanted.
        with suppress(asyncio.CancelledError):
            await self._pool.close()

    async def connect(self) -> _PooledSession:
        """Open one more session, and remember why that failed: the pool reports only that it did."""
        try:
            session = await _PooledSession.open(self._url, self._application_name)
        except FlagScheduleError as error:
            self.failure = error
            self._note(error)
            raise
        self.failure = None
        self._note(None)
        values.load_leniently(session)
        return session

    def _note(self, error: FlagScheduleError | None) -> None:
        """Decide whether time can help."""
        now = time.monotonic()
        if not isinstance(error, CredentialsRefusedError):
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        is_final = isinstance(error, ConfigurationError) or (
            self._refused_since is not None and now - self._refused_since > _REFUSED_FOR_GOOD
        )
        if is_final and isinstance(self._url, str):
            self.refused.set()

    @asynccontextmanager
    async def session(self, within: float = _TIMEOUT) -> AsyncIterator[AsyncSession]:
        """A session that works, for one unit of work.

        Raises:
            DependencyUnavailableError: no session can be had, also where the URL cannot be right: see `refused`.
            StatementRefusedError: the database refused a statement.
        """
        with connection.translated():
            while True:
                try:
                    session = await self._pool.getconn(within)
                except PoolTimeout as error:
                    raise _unavailable(self.failure) or error from error
                try:
                    if not _has_ended(session):
                        yield session
                        return
                    await session.close()  # the pool makes another one
                except ReadOnlySqlTransaction:
                    await session.close()  # the server became a standby: the primary is found by connecting again
                    raise
                finally:
                    await self._pool.putconn(session)


def _unavailable(failure: FlagScheduleError | None) -> FlagScheduleError | None:
    """The failure to connect as one that its callers wait for, because a file with the URL can be corrected."""
    return DependencyUnavailableError(str(failure)) if isinstance(failure, ConfigurationError) else failure


def _has_ended(session: AsyncConnection[Any]) -> bool:
    """Whether the server has ended an idle connection, as when it restarts.

    Nothing is sent to an idle session, so that there is something to read only at its end. To run a query, as
    the pool's own check does, takes as long as most of what a connection is wanted for; and with several that ended
    the pool waits for longer after each.
    """
    idle = select.poll()
    idle.register(session.fileno(), select.POLLIN)
    return bool(idle.poll(0))
