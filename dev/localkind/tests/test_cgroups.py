"""The control groups of a cluster, on folders that look like the kernel's."""

from pathlib import Path

import pytest

from dev.localkind import cgroups


@pytest.fixture
def version1(tmp_path: Path) -> Path:
    """Some hierarchies of version 1 next to an unused version 2."""
    for controller in ("cpu", "cpuset", "memory", "pids", "systemd", "unified"):
        (tmp_path / controller).mkdir()
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-3\n")
    (tmp_path / "cpuset/cpuset.mems").write_text("0\n")
    return tmp_path


class Version2:
    """A version 2 hierarchy: a new group gets its control files, and may use what its parent hands on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fill(root, "cpuset cpu io memory pids")

    def fill(self, group: Path, controllers: str) -> None:
        """Put the kernel's files into a group."""
        (group / "cgroup.controllers").write_text(controllers)
        (group / "cgroup.subtree_control").write_text("")


def test_version_1_gets_a_group_in_each_hierarchy(version1: Path) -> None:
    """Every controller that exists has the group, and the cpuset can take processes."""
    cgroups.create("kn-a", version1)
    assert {path.parent.name for path in version1.glob("*/kn-a")} == {"cpu", "cpuset", "memory", "pids", "systemd"}
    assert (version1 / "cpuset/kn-a/cpuset.cpus").read_text() == "0-3\n"
    assert (version1 / "cpuset/kn-a/cpuset.mems").read_text() == "0\n"


def test_version_1_loses_all_of_them(version1: Path) -> None:
    """Groups that the kubelet and runc made below go as well, also runc's in the unused version 2."""
    (version1 / "memory/kn-a/kubepods/burstable/pod1").mkdir(parents=True)
    (version1 / "unified/kn-a/kubepods").mkdir(parents=True)
    (version1 / "memory/kn-ab").mkdir()
    assert cgroups.remove("kn-a", version1) == []
    assert [str(path.relative_to(version1)) for path in version1.glob("*/kn-*")] == ["memory/kn-ab"]


def test_version_2_hands_on_every_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root and the cluster's group let their children use each controller, in this order."""
    kernel = Version2(tmp_path)
    written: list[tuple[str, str]] = []
    make, write = Path.mkdir, Path.write_text

    def mkdir(path: Path, *, exist_ok: bool) -> None:
        make(path, exist_ok=exist_ok)
        kernel.fill(path, "cpu memory pids")

    def record(path: Path, text: str) -> int:
        if path.name == "cgroup.subtree_control" and text:
            written.append((path.parent.name, text))
        return write(path, text)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "write_text", record)
    cgroups.create("kn-a", tmp_path)
    root = [(tmp_path.name, f"+{controller}") for controller in ("cpuset", "cpu", "io", "memory", "pids")]
    assert written == [*root, ("kn-a", "+cpu"), ("kn-a", "+memory"), ("kn-a", "+pids")]


def test_version_2_loses_its_one_group(tmp_path: Path) -> None:
    """All groups of the cluster are removed, and no others."""
    Version2(tmp_path)
    (tmp_path / "kn-a/kubepods/pod1").mkdir(parents=True)
    (tmp_path / "system.slice").mkdir()
    assert cgroups.remove("kn-a", tmp_path) == []
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"system.slice"}


def test_a_busy_group_is_named(version1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of what the kernel does not release are returned, so that a person can be informed."""
    monkeypatch.setattr(cgroups, "_REMOVE_SECONDS", 0.0)
    busy = version1 / "memory/kn-a"
    busy.mkdir()
    (busy / "tasks").touch()  # a plain file keeps rmdir from working, as a process does in a real hierarchy
    assert cgroups.remove("kn-a", version1) == [busy]
