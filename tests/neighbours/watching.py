"""Observes the neighbours: the database every 10 ms, the API server by a watch. Keeps when something was seen first."""

import json
import ssl
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

_LOOK_EVERY: Final = 0.01
_ROWS: Final = """
SELECT o.name, s.status, s.suspended, s.scheduled_at, f.enabled
FROM flag_schedule_objects AS o
JOIN feature_flag_schedules AS s ON s.id = o.schedule_id
JOIN feature_flags AS f ON f.id = s.flag_id
WHERE o.namespace = %s
"""
Row = dict[str, Any]


class DatabaseWatch:
    """What each object's committed row and flag looked like since when."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url, namespace
        self._seen: dict[str, list[tuple[float, Row]]] = defaultdict(list)
        self._stop = Event()
        self._thread = Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def first(self, name: str, what: Callable[[Row], bool]) -> float | None:
        """Return when a row was first seen to meet a condition, or None."""
        return next((at for at, row in [*self._seen[name]] if what(row)), None)

    def _follow(self) -> None:
        with psycopg.connect(self._url, autocommit=True, row_factory=dict_row) as session:
            while not self._stop.wait(_LOOK_EVERY):
                for row in session.execute(_ROWS, [self._namespace]):
                    found = self._seen[row["name"]]
                    if not found or found[-1][1] != row:
                        found.append((time.time(), row))


class ApiWatch:
    """When each object first showed each phase, and when each Event of it was there first."""

    def __init__(self, server: str, ca_file: Any, token: str, namespace: str) -> None:
        self.phases: dict[tuple[str, str], float] = {}
        self.events: dict[tuple[str, str], float] = {}
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._server, self._token = server, token
        kinds = {
            f"/apis/flagschedule.io/v1alpha1/namespaces/{namespace}/flagschedules": self._note_phase,
            f"/api/v1/namespaces/{namespace}/events": self._note_event,
        }
        for path, note in kinds.items():
            Thread(target=self._follow, args=(path, note), daemon=True).start()

    def _note_phase(self, obj: dict[str, Any]) -> None:
        if phase := obj.get("status", {}).get("phase"):
            self.phases.setdefault((obj["metadata"]["name"], phase), time.time())

    def _note_event(self, obj: dict[str, Any]) -> None:
        self.events.setdefault((obj["involvedObject"]["name"], obj["reason"]), time.time())

    def _follow(self, path: str, note: Callable[[dict[str, Any]], None]) -> None:
        while True:  # the API server ends a watch now and then
            request = urllib.request.Request(  # noqa: S310 -- https only
                f"{self._server}{path}?watch=1", headers={"Authorization": f"Bearer {self._token}"}
            )
            try:
                with urllib.request.urlopen(request, context=self._tls, timeout=600) as stream:  # noqa: S310 -- https only
                    for line in stream:
                        change = json.loads(line)
                        if change["type"] in {"ADDED", "MODIFIED"}:
                            note(change["object"])
            except OSError:  # it has gone: the round is over, or it has not come back yet
                time.sleep(0.2)
