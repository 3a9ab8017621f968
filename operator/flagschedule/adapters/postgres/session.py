"""Connections to Postgres that may lead through a pooler. Used by every store.

A pooler such as PgBouncer lends one server session to many clients. What we would set, lock or prepare there beyond
a transaction would meet the application. So on a session that others may get, every statement runs in a transaction
that begins with our settings. On a session of our own the settings are made once.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from typing import Any, Final, LiteralString, Self

import psycopg
from psycopg import (
    AsyncConnection,
    AsyncCursor,
    AsyncTransaction,
    BaseConnection,
    Connection,
    Cursor,
    IsolationLevel,
    Transaction,
)
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import DictRow, dict_row

from flagschedule.adapters.postgres import connection, statements
from flagschedule.adapters.postgres.connection import Url
from flagschedule.adapters.postgres.unreachable import FENCED, READ_ONLY, explain
from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE NOT DEFERRABLE"
_STATEMENT_POOLING: Final = (
    "DATABASE_URL: leads through a pooler in statement mode, which allows no transactions; "
    "let it pool by transaction or by session (PgBouncer: pool_mode=transaction)"
)
_IS_LOCAL: Final = "/* is_local */ true"

logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # its lines hold the server's address and texts


def _first_settings(settings: LiteralString, pid: int) -> str:
    """The settings for a new connection: they stay if the server process is the one that was announced.

    A pooler announces a number of its own, because requests to cancel must come to the pooler. Then the settings end
    with the statement that makes them.
    """
    return settings.replace(_IS_LOCAL, f"pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.<>) '{int(pid)}'::int4")


@contextmanager
def _first_contact() -> Iterator[None]:
    """Explain what a pooler answers in the place of Postgres; its client connects before it has a session."""
    with connection.translated():
        try:
            yield
        except psycopg.errors.ProtocolViolation as error:
            if "transaction blocks not allowed" in str(error):
                raise ConfigurationError([_STATEMENT_POOLING]) from error
            raise explain(error) from error


def _is_outside(session: BaseConnection[Any]) -> bool:
    """Whether the next statement would begin a transaction."""
    is_idle = session.info.transaction_status == TransactionStatus.IDLE
    return is_idle and session.pgconn.pipeline_status == PipelineStatus.OFF


def _is_own(settings: DictRow | None) -> bool:
    """Whether the first settings stay.

    Raises:
        DependencyUnavailableError: the server is read-only for all.
        ReadOnlySqlTransaction: the server is a standby.
    """
    if settings and settings["is_fenced"]:
        raise DependencyUnavailableError(FENCED)
    if settings is None or settings["is_standby"]:
        raise psycopg.errors.ReadOnlySqlTransaction(READ_ONLY)
    return not settings["is_local"]


@contextmanager
def _begins(session: BaseConnection[Any]) -> Iterator[None]:
    """Name the cause where no transaction can begin: to a standby READ WRITE is a feature that it does not support."""
    try:
        yield
    except psycopg.errors.FeatureNotSupported as error:
        if session.info.transaction_status == TransactionStatus.IDLE:
            raise psycopg.errors.ReadOnlySqlTransaction(READ_ONLY) from error
        raise


class Session(Connection[Any]):
    """A connection in autocommit. Outside of `transaction()` every `execute` is a transaction of its own.

    Attributes:
        is_own: no other client gets this server session, so that settings and prepared statements may stay in it.
    """

    is_own: bool = False
    settings: LiteralString = ""

    @classmethod
    def open(cls, url: Url, application_name: str, more: LiteralString = "") -> Self:
        """Connect.

        Raises:
            ConfigurationError: the URL cannot be parsed, or leads to a pooler that allows no transactions.
            DependencyUnavailableError: nothing there serves us.
        """
        parameters = connection.parameters(url, application_name)
        try:
            session = cls.connect(**parameters, autocommit=True)
        except psycopg.Error as error:
            raise explain(error, connection.name_of(url)) from error
        try:
            session.settle(more)
        except BaseException:
            session.close()
            raise
        return session

    def settle(self, more: LiteralString) -> None:
        """Make our settings, and find out whether they may stay."""
        self.settings = statements.read("session", more=more)
        first: Any = _first_settings(self.settings, self.info.backend_pid)
        with _first_contact():
            self.is_own = _is_own(self.cursor(row_factory=dict_row).execute(first).fetchone())
            if self.is_own:
                return
            self.prepare_threshold = None
            self.isolation_level, self.read_only, self.deferrable = IsolationLevel.READ_COMMITTED, False, False
            super().execute(_BEGIN)
            super().execute("ROLLBACK")

    def execute(self, *statement: Any, **options: Any) -> Cursor[Any]:
        """See psycopg.Connection."""
        if self.is_own:  # the usual case, at each look
            return super().execute(*statement, **options)
        with self.unit():
            return super().execute(*statement, **options)

    def execute_outside(self, statement: bytes) -> None:
        """Execute what no transaction may contain; on a session that we do not own, none of our settings apply."""
        super().execute(statement)

    def unit(self) -> AbstractContextManager[None]:
        """Make one transaction of what is executed inside, in one round trip, where our settings could not stay.

        Does nothing inside of a transaction, and on a session of our own. Errors may come as late as at the end.
        """
        return nullcontext() if self.is_own or not _is_outside(self) else self._unit()

    @contextmanager
    def _unit(self) -> Iterator[None]:
        try:
            with _begins(self), self.pipeline():
                super().execute(_BEGIN)
                super().execute(self.settings)
                yield
                super().execute("COMMIT")
        except BaseException:
            if self.info.transaction_status == TransactionStatus.INERROR:
                self.rollback()
            raise

    @contextmanager
    def transaction(self, *of: Any, **options: Any) -> Iterator[Transaction]:
        """See psycopg.Connection."""
        is_outermost = _is_outside(self)
        with ExitStack() as stack:
            with _begins(self):
                transaction = stack.enter_context(super().transaction(*of, **options))
            if is_outermost and not self.is_own:
                super().execute(self.settings)
            yield transaction


class AsyncSession(AsyncConnection[DictRow]):
    """As `Session`, for asyncio."""

    is_own: bool = False
    settings: LiteralString = ""

    @classmethod
    async def open(cls, url: Url, application_name: str) -> Self:
        """Connect.

        Raises:
            ConfigurationError: the URL cannot be parsed, or leads to a pooler that allows no transactions.
            DependencyUnavailableError: nothing there serves us.
        """
        parameters = connection.parameters(url, application_name)
        try:
            session = await super().connect(**parameters, autocommit=True, row_factory=dict_row)
        except psycopg.Error as error:
            raise explain(error, connection.name_of(url)) from error
        try:
            await session.settle()
        except BaseException:
            await session.close()
            raise
        return session

    async def settle(self) -> None:
        """See Session."""
        self.settings = statements.read("session")
        first: Any = _first_settings(self.settings, self.info.backend_pid)
        with _first_contact():
            self.is_own = _is_own(await (await super().execute(first)).fetchone())
            if self.is_own:
                return
            self.prepare_threshold = None
            await self.set_isolation_level(IsolationLevel.READ_COMMITTED)
            await self.set_read_only(False)
            await self.set_deferrable(False)
            await super().execute(_BEGIN)
            await super().execute("ROLLBACK")

    async def execute(self, *statement: Any, **options: Any) -> AsyncCursor[Any]:
        """See psycopg.AsyncConnection; on a borrowed session in a transaction of its own, in one round trip."""
        if self.is_own or not _is_outside(self):
            return await super().execute(*statement, **options)
        try:
            with _begins(self):
                async with self.pipeline():
                    await super().execute(_BEGIN)
                    await super().execute(self.settings)
                    cursor = await super().execute(*statement, **options)
                    await super().execute("COMMIT")
        except BaseException:
            if self.info.transaction_status == TransactionStatus.INERROR:
                await self.rollback()
            raise
        return cursor

    @asynccontextmanager
    async def transaction(self, *of: Any, **options: Any) -> AsyncIterator[AsyncTransaction]:
        """See psycopg.AsyncConnection."""
        is_outermost = _is_outside(self)
        async with AsyncExitStack() as stack:
            with _begins(self):
                transaction = await stack.enter_async_context(super().transaction(*of, **options))
            if is_outermost and not self.is_own:
                await super().execute(self.settings)
            yield transaction
