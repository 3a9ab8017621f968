"""What the cleanup needs from the database."""

from collections.abc import Mapping
from typing import Literal, Protocol

Table = Literal["runs", "records", "changes", "notices", "plan_rows", "plans", "lineages", "attempts", "schedules"]


Place = tuple[int, int]  # a page, and a row on it


class CleanupStore(Protocol):
    """What is kept for a time only, table by table, in windows of pages as they lie on disk.

    Every method raises DependencyUnavailableError where the database cannot serve it.
    """

    def pages(self, kind: Table) -> int:
        """How many pages the table has."""

    def purge(self, kind: Table, start: Place, end: Place, *, dry_run: bool) -> Mapping[str, int]:
        """Delete what is past its time from `start` on and before `end`, in one short transaction; or only count it.

        Returns:
            how many rows, by what they are: the kind, or the state of a schedule.

        Raises:
            StatementRefusedError: the database refused; nothing was deleted.
        """
