"""The local clusters themselves: the control plane without a node, and nodes that run pods without Docker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from dev.cluster import cache, compiler, go, launcher, programs
from dev.cluster.control_plane import ControlPlane
from dev.cluster.kind_binary import OWN_KIND, is_own
from dev.cluster.system import ClusterError

# What programs of a node would leave on the host if its own view of these places had a hole.
_PLACES = (
    *("/etc/cni", "/opt/cni", "/opt/containerd", "/run/containerd", "/run/cni-ipam", "/usr/libexec/kubernetes"),
    *("/var/lib/cni", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods"),
)
_KERNEL_SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")

node = pytest.mark.node
apiserver = pytest.mark.apiserver
own_kind = pytest.mark.skipif(not is_own(), reason="Docker runs here, so kind makes the clusters")


def eventually(question: Callable[[], object], seconds: float = 90) -> None:
    """Wait until the answer is yes."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


# The control plane without a node.


@apiserver
def test_two_control_planes_live_side_by_side() -> None:
    """Each has its own address and data; controllers work in both."""
    with ControlPlane() as one, ControlPlane() as two:
        one.kubectl("create", "namespace", "only-here")
        assert one.server != two.server
        assert "only-here" not in two.kubectl("get", "namespaces")
        eventually(lambda: "default" in one.kubectl("get", "serviceaccounts", "--namespace=only-here"))


@apiserver
def test_users_are_told_apart(control_plane: ControlPlane) -> None:
    """Nobody may do what no role allows, a wrong token is refused, and the error has the server's words."""
    assert "yes" in control_plane.kubectl("auth", "can-i", "*", "*")
    for user in ("editor", "viewer", "nobody"):
        with pytest.raises(ClusterError, match=f'User "{user}" cannot list'):
            control_plane.kubectl("get", "pods", user=user)
    wrong = control_plane.kubeconfig(token="wrong")  # noqa: S106 -- it is no secret
    with pytest.raises(ClusterError, match="Unauthorized"):
        control_plane.kubectl(f"--kubeconfig={wrong}", "get", "pods")


@apiserver
def test_a_crashed_api_server_comes_back_with_its_data() -> None:
    """After SIGKILL and a new start, the address is the same and nothing is lost."""
    with ControlPlane() as control_plane:
        address = control_plane.server
        control_plane.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        control_plane.kill("kube-apiserver")
        with pytest.raises(ClusterError):
            control_plane.kubectl("get", "configmaps", "--request-timeout=1s")
        control_plane.start_daemon("kube-apiserver")
        control_plane.wait_ready()
        assert control_plane.server == address
        assert "kept" in control_plane.kubectl("get", "configmaps")


@apiserver
def test_a_killed_test_run_leaves_nothing() -> None:
    """When the process that started it is killed, so are the daemons; the next start removes their files."""
    script = (
        "import sys; from dev.cluster.control_plane import ControlPlane\n"
        "c = ControlPlane(); c.start(); print(c.kubeconfig().parent, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        folder = Path(owner.stdout.readline().strip())
        assert len(processes_of(folder)) == 3
        owner.send_signal(signal.SIGKILL)
    eventually(lambda: not processes_of(folder))
    assert folder.exists()
    with ControlPlane() as control_plane:
        assert not folder.exists()
        last = control_plane.kubeconfig().parent
    assert not last.exists()


def processes_of(folder: Path) -> list[str]:
    """Return the processes whose command line names a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes()
        except OSError:
            continue
        if f"{folder}/".encode() in command:
            found.append(file.parent.name)
    return found


# The builder.


@apiserver
def test_programs_are_built_once_for_all_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two callers at once compile once; the result is complete; no temporary folder is left."""
    monkeypatch.setenv("FLAGSCHEDULE_CACHE", str(tmp_path))
    program = go.find().program
    monkeypatch.setattr(go, "_wheel_folder", lambda _: program.parents[2])
    compiled: list[str] = []
    build = compiler.Compiler.build

    def count(self: compiler.Compiler, *, flags: tuple[str, ...], target: str, output: str) -> None:
        compiled.append(target)
        build(self, flags=flags, target=target, output=output)

    monkeypatch.setattr(compiler.Compiler, "build", count)
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(programs.ensure, [[programs.PAUSE]] * 2)
    assert first == second
    assert len(compiled) == 1
    assert os.access(first["pause"] / "pause", os.X_OK)
    assert sorted(path.name for path in (tmp_path / "programs").iterdir()) == [first["pause"].name, "pause.lock"]


@apiserver
def test_a_failed_build_says_why(tmp_path: Path) -> None:
    """The compiler's own words reach the person, with what to do."""
    (tmp_path / "go.mod").write_text("module x\n\ngo 1.26\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() { undefinedFunction() }\n")
    broken = compiler.Compiler(name="x", go=go.find().program, source=tmp_path, report=lambda _: None)
    with pytest.raises(ClusterError, match="undefined: undefinedFunction") as raised:
        broken.build(flags=(), target=".", output=str(tmp_path / "x"))
    assert "run the command again" in str(raised.value)


# Nodes.


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
    """Return everything on this machine that a cluster could leave behind or change."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    links = json.loads(subprocess.check_output(["ip", "-json", "link"]))
    return {
        # /run/netns is made by `ip netns` at its first use on a machine and kept for the next one; images may be
        # built beside these tests.
        "mounts": sorted(mount for mount in mounts if mount != "/run/netns" and "buildah" not in mount),
        "links": sorted(link["ifname"] for link in links),
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("*")),
        "control groups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("**/kn-*")),
        "places": [place for place in _PLACES if Path(place).exists()],
        "settings": [Path("/proc/sys", setting).read_text() for setting in _KERNEL_SETTINGS],
        "state": sorted(path.name for path in cache.state_dir().glob("[!.]*")),
    }


@pytest.fixture(scope="module")
def before() -> dict[str, object]:
    """What there was before any cluster of this module."""
    return traces()


@pytest.fixture(scope="module")
def two_clusters(before: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[KindCluster]]:
    """Two clusters that were created at the same time, through pytest-kind."""
    del before  # taken first
    folder = tmp_path_factory.mktemp("kind")
    home = Path.cwd()
    os.chdir(folder)  # pytest-kind makes a folder where it stands
    kubectl = programs.ensure([programs.NODE])["node"] / "kubectl"
    clusters = [
        KindCluster(name, kubeconfig=folder / name, kind_path=OWN_KIND, kubectl_path=kubectl)
        for name in ("launcher-one", "launcher-two")
    ]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(KindCluster.create, clusters))
        yield clusters
    finally:
        for cluster in clusters:
            cluster.delete()
        os.chdir(home)


@node
@own_kind
def test_pods_run_in_two_clusters_at_once(two_clusters: list[KindCluster]) -> None:
    """Both are ready when `create` returns: the first pod of each is scheduled and runs without a retry."""
    for cluster in two_clusters:
        cluster.kubectl("run", "first", "--image=localhost/pause:3.10.1", "--image-pull-policy=Never")
    for cluster in two_clusters:
        cluster.kubectl("wait", "pod/first", "--for=condition=Ready", "--timeout=20s")
        events = cluster.kubectl("get", "events", "--field-selector=type=Warning,involvedObject.name=first")
        assert events == ""
        assert f"{cluster.name}-control-plane" in cluster.kubectl("get", "nodes")


@node
@own_kind
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


@node
@own_kind
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


@node
@own_kind
def test_a_crashed_daemon_comes_back(two_clusters: list[KindCluster]) -> None:
    """After SIGKILL of the API server inside the node, the supervisor starts it again and pods keep running."""
    cluster = two_clusters[1]
    crash = "for p in /proc/[0-9]*; do grep -qz '/kube-apiserver$' $p/cmdline && kill -9 ${p#/proc/}; done; true"
    kind("exec", cluster.name, "bash", "-c", crash)
    log = cache.state_dir() / cluster.name / "node.log"
    eventually(lambda: "kube-apiserver ended with -9" in log.read_text())
    eventually(lambda: kind("exec", cluster.name, "kubectl", "get", "--raw", "/readyz", check=False).stdout == "ok")


@node
@own_kind
def test_deleting_leaves_nothing(two_clusters: list[KindCluster], before: dict[str, object]) -> None:
    """Mounts, links, namespaces, control groups, files and kernel settings are as before; a dead node goes as well."""
    alive, dead = two_clusters
    os.kill(launcher.first_process(launcher.find(dead.name)), signal.SIGKILL)
    eventually(lambda: dead.name not in kind("get", "clusters").stdout.splitlines())
    for cluster in (alive, dead):
        kind("delete", "cluster", "--name", cluster.name, "--kubeconfig", str(cluster.kubeconfig_path))
        assert not cluster.kubeconfig_path.exists()
    assert traces() == before


@node
@own_kind
def test_a_half_made_cluster_is_deleted_completely(before: dict[str, object], tmp_path: Path) -> None:
    """When `create` is killed half-way, `delete` removes the node that runs on without it, and all the rest."""
    words = ("create", "cluster", "--name", "launcher-half", "--kubeconfig", str(tmp_path / "config"))
    with subprocess.Popen([OWN_KIND, *words], stderr=subprocess.DEVNULL) as creator:
        eventually((cache.state_dir() / "launcher-half" / "log" / "kube-apiserver.log").exists)
        creator.kill()
    assert "launcher-half" not in kind("get", "clusters").stdout
    kind("delete", "cluster", "--name", "launcher-half", "--kubeconfig", str(tmp_path / "config"))
    assert traces() == before


@node
@own_kind
def test_a_failed_start_explains_itself_and_leaves_nothing(tmp_path: Path, before: dict[str, object]) -> None:
    """A daemon that does not stay up fails `create` at once, with the end of its log; all is removed."""
    built = programs.ensure(programs.MODULES.values())
    (tmp_path / "programs").mkdir()
    for name, folder in built.items():
        if name != "coredns":
            (tmp_path / "programs" / folder.name).symlink_to(folder)
    broken = tmp_path / "programs" / built["coredns"].name / "coredns"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho unknown plugin\nexit 1\n")
    broken.chmod(0o755)
    words = ("create", "cluster", "--name", "launcher-bad", "--kubeconfig", str(tmp_path / "config"))
    failed = kind(*words, check=False, FLAGSCHEDULE_CACHE=str(tmp_path))
    assert failed.returncode == 1
    assert "coredns ended again and again" in failed.stderr
    assert "unknown plugin" in failed.stderr
    assert not (tmp_path / "config").exists()
    assert not list((tmp_path / "clusters").glob("[!.]*"))
    assert traces() == before
