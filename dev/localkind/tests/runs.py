"""Names of clusters that belong to one run of the tests: several checkouts may run theirs on one machine.

Called by the tests with nodes, also by those in tests/e2e.
"""

import os
import re
from pathlib import Path

from dev.localkind import system


def own_name(purpose: str) -> str:
    """Return a name that no other run uses at the same time; it may be a prefix, with `-` and more behind it."""
    return f"{purpose}-{os.getpid()}"


def delete_leftovers(kind: str | Path, purpose: str) -> None:
    """Delete the clusters of this purpose whose run was killed."""
    for name in system.run(kind, "get", "clusters").split():
        match = re.fullmatch(rf"{purpose}-(\d+)(-.*)?", name)
        if match and not Path("/proc", match[1]).exists():
            system.run(kind, "delete", "cluster", f"--name={name}")
