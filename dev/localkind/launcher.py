"""Creates, finds and deletes one-node clusters.

Called by the command line. A cluster exists while its folder does. Creating or deleting one holds the lock on
that folder; the file `owned` in it says that the namespace and control groups of that name are this cluster's.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dev.localkind import (
    cache,
    certs,
    cgroups,
    config,
    daemons,
    image_archives,
    network,
    processes,
    programs,
    supervisor,
    system,
)
from dev.localkind.naming import Cluster, checked_name
from dev.localkind.progress import say
from dev.localkind.readiness import wait_ready
from dev.localkind.system import ClusterError

_REPOSITORY = Path(__file__).parents[2]
_NUMBERS = range(1, 255)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def all_clusters() -> list[Cluster]:
    """Return all clusters by name, half-made and dead ones included."""
    found = sorted(file.parent.name for file in cache.state_dir().glob("*/number"))
    return [cluster for name in found if (cluster := _read(name))]


def is_running(cluster: Cluster) -> bool:
    """Return whether the cluster was made completely and its node runs."""
    complete = (cluster.folder / "ready").exists() and _owns(cluster)
    return complete and processes.first_process(network.namespace_file(cluster)) is not None


def find(name: str) -> Cluster:
    """Return a cluster by its name.

    Raises:
        ClusterError: there is none.
    """
    cluster = _read(name)
    if cluster is None:
        known = ", ".join(other.name for other in all_clusters()) or "none"
        raise ClusterError(
            f"there is no cluster {name!r} (there is: {known}); make it with: create cluster --name {name}"
        )
    return cluster


def first_process(cluster: Cluster) -> int:
    """Return the node's process 1 as the host numbers it.

    Raises:
        ClusterError: the node does not run.
    """
    pid = processes.first_process(network.namespace_file(cluster))
    if pid is None:
        raise ClusterError(f"the node of cluster {cluster.name!r} does not run any more; delete it and create it again")
    return pid


def create(name: str) -> Cluster:
    """Create a cluster and return when it can run pods; on failure nothing of it is left.

    Raises:
        ClusterError: it could not be made; the text says why and what to do.
    """
    checked_name(name)
    system.require_root()
    _check_places()
    system.require(system.NODE_PARTS)
    built = programs.ensure(programs.CLUSTER)
    with _claimed(name) as cluster:
        try:
            _make(cluster, built)
        except BaseException:
            _tear_down(cluster)
            raise
    return cluster


def delete(name: str) -> bool:
    """Delete a cluster and everything of it, also a half-made or dead one; return False if there was none.

    Raises:
        ClusterError: the kernel would not let go of something; the text names it.
    """
    if _read(checked_name(name)) is None:
        return False
    system.require_root()
    with suppress(FileNotFoundError), cache.locked(cache.state_dir() / name):
        if cluster := _read(name):
            _tear_down(cluster)
    return True


def load_archive(cluster: Cluster, archive: Path) -> None:
    """Put the images of an archive (docker or OCI layout) into the node.

    Raises:
        ClusterError: there is no such file, it is not an image archive, or the node does not run.
    """
    pid = first_process(cluster)
    if not archive.is_file():
        raise ClusterError(f"there is no file {archive}")
    with archive.open("rb") as stream:
        done = subprocess.run(
            # Through a pipe, because the node does not see every folder of the host.
            [*processes.enter(pid), program(cluster, "ctr"), "--namespace=k8s.io", "images", "import", "-"],
            stdin=stream,
            capture_output=True,
            text=True,
            check=False,
            env=system.environment(),
        )
    if done.returncode:
        raise ClusterError(f"importing {archive} failed: {done.stderr.strip()}")


def load_image(cluster: Cluster, image: str) -> None:
    """Copy an image of this machine into the node.

    Raises:
        ClusterError: there is no such image, or the node does not run.
    """
    first_process(cluster)
    with tempfile.TemporaryDirectory(prefix="load-", dir=cluster.folder) as folder:
        archive = Path(folder) / "image.tar"
        image_archives.export(image, archive)
        load_archive(cluster, archive)


def program(cluster: Cluster, name: str) -> Path:
    """Return the path of the cluster's own `ctr` or `kubectl`."""
    return Path(json.loads((cluster.folder / "plan.json").read_text())["programs"][name])


def _read(name: str) -> Cluster | None:
    folder = cache.state_dir() / name
    try:
        return Cluster(name=name, number=int((folder / "number").read_text()), folder=folder)
    except (OSError, ValueError):
        return None


def _check_places() -> None:
    """Refuse a state folder that the node would not see as the host does."""
    state = cache.state_dir()
    for place in (*supervisor.OVERLAID, *supervisor.HIDDEN):
        if state.resolve().is_relative_to(place):
            raise ClusterError(
                f"clusters cannot be kept in {state}: the node has its own {place}. "
                "Set FLAGSCHEDULE_STATE to a folder elsewhere",
            )


@contextmanager
def _claimed(name: str) -> Iterator[Cluster]:
    """Take the name, a free number and the network that goes with it, and hold the cluster's lock meanwhile."""
    state = cache.state_dir()
    state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with cache.locked(state / ".lock"):
            _clear_way(name)
            folder = state / name
            folder.mkdir(mode=0o700)
            stack.enter_context(cache.locked(folder))
            cluster = Cluster(name=name, number=_free_number(), folder=folder)
            (folder / "number").write_text(str(cluster.number))
            _connect(cluster)
        yield cluster


def _clear_way(name: str) -> None:
    """Make sure that the name is free, removing what a killed `create` or a restart of the machine left of it."""
    folder = cache.state_dir() / name
    if not folder.exists():
        return
    with cache.tried_lock(folder) as is_ours:
        if not is_ours:
            raise ClusterError(f"cluster {name!r} is being created or deleted right now; wait for that")
        cluster = _read(name) or Cluster(name=name, number=0, folder=folder)
        if is_running(cluster):
            raise ClusterError(f"a cluster {name!r} already exists; delete it first, or choose another --name")
        say(f"Removing what is left of cluster {name!r}, whose node does not run")
        _tear_down(cluster)


def _free_number() -> int:
    taken = network.used_numbers() | {cluster.number for cluster in all_clusters()}
    for number in _NUMBERS:
        if number not in taken:
            return number
    raise ClusterError("all subnets 10.231.1.0/24 to 10.231.254.0/24 are in use on this machine; delete a cluster")


def _connect(cluster: Cluster) -> None:
    try:
        _own(cluster)
        network.connect(cluster)
    except BaseException:
        _tear_down(cluster)
        raise


def _own(cluster: Cluster) -> None:
    """Record that every object with the name of this cluster's namespace is this cluster's to remove."""
    if network.namespace_file(cluster).exists():
        raise ClusterError(
            f"the network namespace {cluster.namespace} exists, but no cluster here owns it: choose another "
            "--name, or delete that cluster with the FLAGSCHEDULE_STATE or FLAGSCHEDULE_CACHE it was made with",
        )
    (cluster.folder / "owned").write_text(_BOOT_ID.read_text())


def _owns(cluster: Cluster) -> bool:
    """Return whether they are: names of before a restart of the machine may be those of another's cluster by now."""
    with suppress(OSError):
        return (cluster.folder / "owned").read_text() == _BOOT_ID.read_text()
    return False


def _make(cluster: Cluster, built: dict[str, Path]) -> None:
    certs.make_all(cluster.certs, cluster)
    config.write_all(cluster, system.which("runc") or "runc")
    image_archives.pack_pause(built["pause"] / "pause", cluster.folder / "pause.tar")
    cgroups.create(cluster.namespace)
    _write_plan(cluster, built)
    _start_node(cluster)
    wait_ready(cluster, program(cluster, "ctr"))
    (cluster.folder / "ready").touch()


def _write_plan(cluster: Cluster, built: dict[str, Path]) -> None:
    """Write down for the supervisor what to start."""
    # containerd finds its shim on PATH; nothing of the caller's environment reaches the daemons.
    environment = system.bare_environment(cluster.folder)
    environment["PATH"] = f"{built['containerd']}{os.pathsep}{environment['PATH']}"
    plan = {
        "server": cluster.server,
        "environment": environment,
        "before_api": daemons.before_api(cluster, built),
        "after_api": daemons.after_api(cluster, built),
        "programs": {"ctr": str(built["containerd"] / "ctr"), "kubectl": str(built["node"] / "kubectl")},
    }
    (cluster.folder / "plan.json").write_text(json.dumps(plan, indent=2))


def _start_node(cluster: Cluster) -> None:
    """Start the supervisor in namespaces of its own, detached from this process and its terminal."""
    unshare = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")
    node = (sys.executable, "-m", "dev.localkind.supervisor", str(cluster.folder))
    with (cluster.folder / "node.log").open("ab") as log:
        subprocess.run(
            # Not `ip netns exec`: it mounts a new /sys over the control groups.
            ["setsid", "--fork", "nsenter", f"--net={network.namespace_file(cluster)}", *unshare, *node],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
            cwd=_REPOSITORY,
            env={**system.bare_environment(cluster.folder), "PYTHONDONTWRITEBYTECODE": "1"},
        )


def _tear_down(cluster: Cluster) -> None:
    """Remove everything of a cluster, from processes to files; a part that is missing already is fine."""
    if _owns(cluster):
        left: list[object] = [f"process {pid}" for pid in processes.end_all(network.namespace_file(cluster))]
        if not left:
            network.disconnect(cluster)
            left += cgroups.remove(cluster.namespace)
        if left:
            raise ClusterError(
                f"cluster {cluster.name!r} cannot be removed completely, the kernel holds on to: "
                f"{', '.join(str(obj) for obj in left)}. Try `delete cluster` again in a minute",
            )
    shutil.rmtree(cluster.folder)
