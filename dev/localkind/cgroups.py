"""The control groups of one cluster: its pods are accounted for and limited below them.

Called by the launcher. Knows version 1 (one folder in each controller's hierarchy, also next to an unused version 2)
and version 2 (one folder). The kubelet and runc make everything below.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_V1_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
# A version 1 cpuset has no processors and no memory nodes of its own at first, and then accepts no process.
_V1_INHERITED = ("cpuset.cpus", "cpuset.mems")
_REMOVE_SECONDS = 5.0
_POLL_SECONDS = 0.05


def is_v2(root: Path = ROOT) -> bool:
    """Return whether the machine has the one unified hierarchy only."""
    return (root / "cgroup.controllers").exists()


def create(name: str, root: Path = ROOT) -> None:
    """Make the groups of a cluster.

    Raises:
        OSError: the kernel refused.
    """
    if is_v2(root):
        group = root / name
        group.mkdir(exist_ok=True)
        # In this order: a group can only hand on what it was given.
        for parent in (root, group):
            _hand_on_all(parent)
        return
    for controller in _V1_CONTROLLERS:
        if (hierarchy := root / controller).is_dir():
            (hierarchy / name).mkdir(exist_ok=True)
    for file in _V1_INHERITED:
        if (source := root / "cpuset" / file).exists():
            (root / "cpuset" / name / file).write_text(source.read_text())


def remove(name: str, root: Path = ROOT) -> list[Path]:
    """Remove the groups of a cluster whose processes are gone; return those that are still busy after 5 seconds."""
    hierarchies = [root] if is_v2(root) else [root / part for part in (*_V1_CONTROLLERS, "unified")]
    groups = [hierarchy / name for hierarchy in hierarchies]
    deadline = time.monotonic() + _REMOVE_SECONDS
    while busy := [group for group in groups if not _remove_tree(group)]:
        if time.monotonic() > deadline:
            return busy
        time.sleep(_POLL_SECONDS)  # a killed container's group stays busy for a moment
    return []


def _hand_on_all(group: Path) -> None:
    """Let the children of a version 2 group use every controller that it has itself."""
    for controller in (group / "cgroup.controllers").read_text().split():
        (group / "cgroup.subtree_control").write_text(f"+{controller}")


def _remove_tree(group: Path) -> bool:
    """Remove a group's folders from the innermost outwards; the files in them are the kernel's."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
    return not group.exists()
