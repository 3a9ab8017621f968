"""The application that shares a pooler with the product: it must feel nothing of its neighbour."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.waiting import eventually

# All that can be set, locked, prepared or left open in a session, as the next client of a pool finds it.
LEFT = """
SELECT (SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE source = 'session') AS settings,
       (SELECT count(*) FROM pg_prepared_statements) AS prepared,
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
       (SELECT count(*) FROM pg_cursors) AS cursors,
       (SELECT count(*) FROM pg_listening_channels()) AS channels
"""


class Application:
    """A client of the same pool, which looks all the time at the session that it was lent."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.looks = 0
        self.found: list[dict[str, Any]] = []

    def _look(self) -> None:
        # PgBouncer sets each client's own name, but only if it has one.
        with psycopg.connect(
            self._url, application_name="shop", autocommit=True, prepare_threshold=None, row_factory=dict_row
        ) as client:
            while not self._ended.is_set():
                (found,) = client.execute(LEFT)
                self.looks += 1
                if found not in self.found:
                    self.found.append(found)

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Look until the work inside is done, and once more after that."""
        self._thread.start()
        try:
            eventually(lambda: self.looks)
            yield
            looks = self.looks
            eventually(lambda: self.looks > looks + 1 or not self._thread.is_alive())
        finally:
            self._ended.set()
            self._thread.join()
