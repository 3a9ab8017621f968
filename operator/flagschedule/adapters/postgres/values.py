"""Values that Postgres can hold and Python cannot: loaded as what is closest, so that no row stops the others.

Used by the operator's store, which shows people any content of a row.
"""

import json
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg.types.json import set_json_loads

_EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)


def load_leniently(context: psycopg.AsyncConnection[Any]) -> None:
    """Make a connection load every instant and every JSON value without an error."""
    context.adapters.register_loader("timestamptz", _InstantLoader)
    set_json_loads(_json, context)


class _InstantLoader(Loader):
    """Infinity and years before 1 or after 9999 become the first or the last year."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        exact = psycopg.adapters.get_loader(oid, Format.TEXT)
        if exact is None:
            raise AssertionError("psycopg loads instants")
        self._exact = exact(oid, context)

    def load(self, data: Buffer) -> Any:
        try:
            return self._exact.load(data)
        except psycopg.DataError:
            text = bytes(data)
            return _EARLIEST if text.startswith(b"-") or text.endswith(b"BC") else _LATEST


def _json(text: str | bytes) -> Any:
    """The value, or its text where it is nested too deeply or holds a number that is too long."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text if isinstance(text, str) else text.decode(errors="replace")
