"""Where the local cluster keeps its files, and how two callers avoid each other."""

import subprocess
import sys
from pathlib import Path

import pytest

from dev.localkind import cache
from dev.localkind.naming import Cluster, checked_name
from dev.localkind.system import ClusterError


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Our own variable counts more than the desktop's, which counts more than the home folder."""
    monkeypatch.delenv("FLAGSCHEDULE_CACHE", raising=False)
    monkeypatch.delenv("FLAGSCHEDULE_STATE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_dir() == tmp_path / "home/.cache/flagschedule"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "desktop"))
    assert cache.cache_dir() == tmp_path / "desktop/flagschedule"
    monkeypatch.setenv("FLAGSCHEDULE_CACHE", str(tmp_path / "ours"))
    assert cache.cache_dir() == tmp_path / "ours"
    assert cache.state_dir() == tmp_path / "ours/clusters"


def test_a_lock_keeps_others_out_until_its_holder_dies(tmp_path: Path) -> None:
    """A second caller waits, and gets the lock when the first one is killed."""
    script = (
        "import sys, pathlib; from dev.localkind import cache\n"
        "with cache.locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with cache.tried_lock(tmp_path) as is_ours:
            assert not is_ours
        with cache.locked(tmp_path, wait=holder.kill):
            assert holder.wait() != 0


@pytest.mark.parametrize("name", ["a", "kind", "shop-2", "9", "x" * 49])
def test_ordinary_names_are_taken(name: str) -> None:
    """Every valid node name is a name for a cluster."""
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a.b", "..", "-a", "a-", "a/b", "a b", "x" * 50, "ä"])
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    """A name that would break a path, a DNS label or a kubeconfig's keys is refused, and the error states the rule."""
    with pytest.raises(ClusterError, match="a-z, 0-9 and '-'"):
        checked_name(name)


def test_addresses_follow_from_the_number() -> None:
    """Two numbers never share an address, a link or a subnet."""
    first, second = (Cluster(name="n", number=number, folder=Path("/x")) for number in (1, 254))
    assert (first.address, first.host_address, first.link) == ("10.231.1.2", "10.231.1.1", "kn1")
    assert (second.address, second.host_address, second.link) == ("10.231.254.2", "10.231.254.1", "kn254")
