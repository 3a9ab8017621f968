"""Knows when everything was compared once since the start. Fed by the comparisons; read by the readiness probe.

After a restore of the database people wait for its line before the processor runs, so no kind may be left out: a lost
freeze or step that is made again meanwhile is made for good.
"""

from collections.abc import Iterable

import structlog

_log = structlog.get_logger()


class Startup:
    """Which kinds of objects still have to be compared for the first time.

    Attributes:
        done: whether all were, and repaired as far as possible.
    """

    def __init__(self, cluster: str, kinds: Iterable[str]) -> None:
        self._cluster = cluster
        self._left = {*kinds}
        self._repaired = 0
        self.done = False

    def compared(self, kind: str, repaired: int) -> None:
        """Take a kind for compared, also one that the API server does not serve; only the first time counts."""
        if kind not in self._left:
            return
        self._left.discard(kind)
        self._repaired += repaired
        if not self._left:
            self.done = True
            _log.info("All objects compared", cluster=self._cluster, repaired=self._repaired)
