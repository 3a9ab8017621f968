"""Our own kind: nodes that run pods without Docker."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from dev.localkind import cache, cgroups, launcher, programs
from dev.localkind.kind_binary import OWN_KIND, is_own
from dev.localkind.processes import crash
from dev.localkind.servers.guard import wait_until
from dev.localkind.tests import PATIENCE, runs

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not is_own(), reason="Docker runs here, so kind makes the clusters"),
]

# What programs of a node would leave on the host if its own view of these places had a hole.
_PLACES = (
    *("/etc/cni", "/opt/cni", "/opt/containerd", "/run/containerd", "/run/cni-ipam", "/usr/libexec/kubernetes"),
    *("/var/lib/cni", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods"),
)
_KERNEL_SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
_PURPOSE = "launcher"
_OWN = runs.own_name(_PURPOSE)
# The namespace of a cluster that another run, or a demo, has on this machine at the same time.
_FOREIGN = re.compile(rf"\bkn-(?!{_OWN}-)")


def kind(*words: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run our kind as a person does."""
    return subprocess.run(
        [OWN_KIND, *words],
        capture_output=True,
        text=True,
        check=check,
        env={**os.environ, **environment},
    )


def traces() -> dict[str, object]:
    """Return everything on this machine that a cluster of this run could leave behind or change."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    # As text: only there has a link the name of the namespace at its other end, and none if that has lost its name.
    links = subprocess.check_output(["ip", "-oneline", "link"], text=True).splitlines()
    return {
        # /run/netns is made by `ip netns` at its first use on a machine and kept for the next one; images may be
        # built while these tests run.
        "mounts": own(mount for mount in mounts if mount != "/run/netns" and "buildah" not in mount),
        "links": [line.split()[1] for line in own(links)],
        "namespaces": own(path.name for path in Path("/run/netns").glob("*")),
        # Not by a glob, which fails when another run's group vanishes under it.
        "control groups": own(folder for folder, _, _ in os.walk(cgroups.ROOT) if "/kn-" in folder),
        "places": [place for place in _PLACES if Path(place).exists()],
        "settings": [Path("/proc/sys", setting).read_text() for setting in _KERNEL_SETTINGS],
        "state": sorted(path.name for path in cache.state_dir().glob(f"{_OWN}-*")),
    }


def own(found: Iterable[str]) -> list[str]:
    """Return, sorted, what does not name the cluster of another run."""
    return sorted(text for text in found if not _FOREIGN.search(text))


@pytest.fixture(scope="module")
def before() -> dict[str, object]:
    """What there was before any cluster of this module."""
    runs.delete_leftovers(OWN_KIND, _PURPOSE)
    return traces()


@pytest.fixture(scope="module")
def two_clusters(before: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[KindCluster]]:
    """Two clusters that were created at the same time, through pytest-kind."""
    del before  # requested first, so that it is made first
    folder = tmp_path_factory.mktemp("kind")
    home = Path.cwd()
    os.chdir(folder)  # pytest-kind makes a folder where it stands
    kubectl = programs.ensure([programs.NODE])["node"] / "kubectl"
    clusters = [
        KindCluster(name, kubeconfig=folder / name, kind_path=OWN_KIND, kubectl_path=kubectl)
        for name in (f"{_OWN}-one", f"{_OWN}-two")
    ]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(KindCluster.create, clusters))
        yield clusters
    finally:
        for cluster in clusters:
            cluster.delete()
        os.chdir(home)


def test_pods_run_in_two_clusters_at_once(two_clusters: list[KindCluster]) -> None:
    """Both are ready when `create` returns: the first pod of each is scheduled and runs without a retry."""
    for cluster in two_clusters:
        cluster.kubectl("run", "first", "--image=localhost/pause:3.10.1", "--image-pull-policy=Never")
    for cluster in two_clusters:
        cluster.kubectl("wait", "pod/first", "--for=condition=Ready", "--timeout=120s")
        events = cluster.kubectl("get", "events", "--field-selector=type=Warning,involvedObject.name=first")
        assert events == ""
        assert f"{cluster.name}-control-plane" in cluster.kubectl("get", "nodes")


def test_the_clusters_words_are_kinds(two_clusters: list[KindCluster], tmp_path: Path) -> None:
    """Lists, kubeconfigs, a second create, commands in the node: all answer as documented."""
    names = [cluster.name for cluster in two_clusters]
    assert set(names) <= set(kind("get", "clusters").stdout.splitlines())
    addresses = [kind("host-address", "--name", name).stdout.strip() for name in names]
    assert addresses[0] != addresses[1]
    assert "10.231." in addresses[0]
    taken = kind("create", "cluster", "--name", names[0], "--kubeconfig", str(tmp_path / "x"), check=False)
    assert (taken.returncode, "already exists" in taken.stderr) == (1, True)
    assert not (tmp_path / "x").exists()
    config = json.loads(kind("get", "kubeconfig", "--name", names[0]).stdout)
    assert config["current-context"] == f"kind-{names[0]}"
    inside = kind("exec", names[0], "sh", "-c", "kubectl get --raw /readyz; exit 7", check=False)
    assert (inside.returncode, inside.stdout) == (7, "ok")


def test_images_are_loaded_from_an_archive(two_clusters: list[KindCluster]) -> None:
    """An archive of this machine is in the node afterwards; what is no archive, or no image, is refused."""
    name = two_clusters[0].name
    archive = cache.state_dir() / name / "pause.tar"
    kind("exec", name, "ctr", "--namespace=k8s.io", "images", "remove", "localhost/pause:3.10.1")
    kind("load", "image-archive", str(archive), "--name", name)
    assert "localhost/pause:3.10.1" in kind("exec", name, "ctr", "--namespace=k8s.io", "images", "list", "-q").stdout
    assert "no file" in kind("load", "image-archive", "/nowhere", "--name", name, check=False).stderr
    assert "importing" in kind("load", "image-archive", __file__, "--name", name, check=False).stderr
    missing = kind("load", "docker-image", "localhost/nothing:1", "--name", name, check=False)
    assert (missing.returncode, "no image localhost/nothing:1" in missing.stderr) == (1, True)


def test_a_crashed_daemon_comes_back(two_clusters: list[KindCluster]) -> None:
    """After SIGKILL of the API server inside the node, the supervisor starts it again and pods keep running."""
    cluster = two_clusters[1]
    kind("exec", cluster.name, *crash("kube-apiserver"))
    log = cache.state_dir() / cluster.name / "node.log"
    assert wait_until(lambda: "kube-apiserver ended with -9" in log.read_text(), PATIENCE), "not in time: it is seen"
    ready = ("kubectl", "get", "--raw", "/readyz")
    assert wait_until(lambda: kind("exec", cluster.name, *ready, check=False).stdout == "ok", PATIENCE), (
        "not in time: it is back"
    )


def test_deleting_leaves_nothing(two_clusters: list[KindCluster], before: dict[str, object]) -> None:
    """Mounts, links, namespaces, control groups, files and kernel settings are as before; a dead node goes as well."""
    alive, dead = two_clusters
    os.kill(launcher.first_process(launcher.find(dead.name)), signal.SIGKILL)
    assert wait_until(lambda: dead.name not in kind("get", "clusters").stdout.splitlines(), PATIENCE), (
        "not in time: it counts as dead"
    )
    for cluster in (alive, dead):
        kind("delete", "cluster", "--name", cluster.name, "--kubeconfig", str(cluster.kubeconfig_path))
        assert not cluster.kubeconfig_path.exists()
    assert traces() == before


def test_a_half_made_cluster_is_deleted_completely(before: dict[str, object], tmp_path: Path) -> None:
    """When `create` is killed half-way, `delete` removes the node that runs on without it, and all the rest."""
    name = f"{_OWN}-half"
    words = ("create", "cluster", "--name", name, "--kubeconfig", str(tmp_path / "config"))
    with subprocess.Popen([OWN_KIND, *words], stderr=subprocess.DEVNULL) as creator:
        assert wait_until((cache.state_dir() / name / "log" / "kube-apiserver.log").exists, PATIENCE), (
            "not in time: it is half made"
        )
        creator.kill()
    assert name not in kind("get", "clusters").stdout
    kind("delete", "cluster", "--name", name, "--kubeconfig", str(tmp_path / "config"))
    assert traces() == before


def test_a_failed_start_explains_itself_and_leaves_nothing(tmp_path: Path, before: dict[str, object]) -> None:
    """A daemon that does not stay up fails `create` at once, with the end of its log; all is removed."""
    built = programs.ensure(programs.CLUSTER)
    (tmp_path / "programs").mkdir()
    for name, folder in built.items():
        if name != "coredns":
            (tmp_path / "programs" / folder.name).symlink_to(folder)
    broken = tmp_path / "programs" / built["coredns"].name / "coredns"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho unknown plugin\nexit 1\n")
    broken.chmod(0o755)
    words = ("create", "cluster", "--name", f"{_OWN}-bad", "--kubeconfig", str(tmp_path / "config"))
    # The clusters stay in one place, whose lock keeps two of them from taking the same number.
    places = {"FLAGSCHEDULE_CACHE": str(tmp_path), "FLAGSCHEDULE_STATE": str(cache.state_dir())}
    failed = kind(*words, check=False, **places)
    assert failed.returncode == 1
    assert "coredns ended again and again" in failed.stderr
    assert "unknown plugin" in failed.stderr
    assert not (tmp_path / "config").exists()
    assert traces() == before
