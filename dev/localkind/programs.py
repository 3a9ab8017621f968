"""The programs of a cluster, and those that tests call; built once from Go modules, cached under a hash of these.

Called by the control plane, the launcher, tests and `python -m dev.localkind build`. Several callers may come at once:
one builds, the others wait and show the same progress.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dev.localkind import cache, go
from dev.localkind.compiler import Compiler
from dev.localkind.progress import Progress, say
from dev.localkind.system import ClusterError

KUBERNETES = "1.37.2"
OLDEST_KUBERNETES = "1.34.4"
HELM_VERSION = "4.3.1"
_WAIT_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Module:
    """One Go module of `programs/`: the arguments of `go build`, and the names its result goes by.

    Changing a flag changes the key of every package in Go's own cache: the next build takes the full time.
    """

    name: str
    contents: str
    flags: tuple[str, ...] = ("-ldflags", "-s -w")
    target: str = "."
    output: str = ""
    links: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """The folder of its go.mod."""
        return go.PROGRAMS / self.name


def _as_version(version: str) -> tuple[str, ...]:
    major, minor, _ = version.split(".")
    package = "k8s.io/component-base/version"
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return ("-ldflags", " ".join(["-s -w", *(f"-X {package}.{name}={value}" for name, value in values.items())]))


NODE = Module(
    name="node",
    contents=f"Kubernetes {KUBERNETES} and etcd",
    flags=_as_version(KUBERNETES),
    output="kn",
    links=(
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubelet",
        "kubectl",
    ),
)
OLDEST = Module(
    name="oldest",
    contents=f"Kubernetes {OLDEST_KUBERNETES} and its etcd",
    flags=_as_version(OLDEST_KUBERNETES),
    output="kn",
    links=("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"),
)
CONTAINERD = Module(
    name="containerd",
    contents="containerd",
    flags=("-tags", "no_btrfs,no_devmapper,no_zfs,netgo,osusergo", "-ldflags", "-s -w"),
    target="tool",
)
COREDNS = Module(name="coredns", contents="CoreDNS", output="coredns")
PAUSE = Module(name="pause", contents="the pause program", output="pause")
HELM = Module(
    name="helm",
    contents=f"Helm {HELM_VERSION}",
    flags=("-ldflags", f"-s -w -X helm.sh/helm/v4/internal/version.version=v{HELM_VERSION}"),
    target="tool",
)
KSTATUS = Module(name="kstatus", contents="kstatus", output="kstatus")
REGISTRY = Module(name="registry", contents="a registry of images and charts", output="registry")
FLUX = Module(name="flux", contents="Flux's source-controller and kustomize-controller", target="tool")
ACTIONLINT = Module(name="actionlint", contents="actionlint", target="tool")

CLUSTER = (NODE, CONTAINERD, COREDNS, PAUSE)  # what a cluster needs to run pods
MODULES = {module.name: module for module in (*CLUSTER, OLDEST, HELM, KSTATUS, REGISTRY, FLUX, ACTIONLINT)}


def control_plane() -> Module:
    """Return what a control plane without nodes is made of.

    FLAGSCHEDULE_KUBERNETES=oldest chooses the oldest version that is supported instead of the newest.

    Raises:
        ClusterError: the variable says something else.
    """
    chosen = os.environ.get("FLAGSCHEDULE_KUBERNETES")
    if chosen not in {None, "", "oldest"}:
        raise ClusterError(f"FLAGSCHEDULE_KUBERNETES={chosen}: say oldest ({OLDEST_KUBERNETES}), or leave it out")
    return OLDEST if chosen else NODE


def folder_of(module: Module, version: str) -> Path:
    """Return where the module's programs belong when built by that version of Go."""
    digest = hashlib.sha256(repr((module.flags, module.target, module.links, version)).encode())
    for file in sorted([module.source / "go.mod", module.source / "go.sum", *module.source.glob("*.go")]):
        if file.exists():
            digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return cache.cache_dir() / "programs" / f"{module.name}-{digest.hexdigest()[:12]}"


def ensure(modules: Iterable[Module]) -> dict[str, Path]:
    """Build what is not built yet and return the folder of each module's programs, by the module's name.

    Raises:
        ClusterError: there is no Go compiler, or it could not build.
    """
    compiler = go.find()
    folders = {module.name: folder_of(module, compiler.version) for module in modules}
    missing = [MODULES[name] for name, folder in folders.items() if not folder.is_dir()]
    if missing:
        _announce(missing)
        compiler.install()
    for module in missing:
        _build_once(module, compiler, folders[module.name])
    return folders


def _announce(missing: list[Module]) -> None:
    what = ", ".join(module.contents for module in missing)
    time_needed = "about 15 minutes on 2 cores" if {NODE, OLDEST} & {*missing} else "up to 3 minutes on 2 cores"
    where = cache.cache_dir() / "programs"
    say(f"Building {what} from source, because this version is not in the cache yet:")
    say(f"{time_needed}, once; kept in {where}. It can be stopped and goes on where it was.")


def _build_once(module: Module, compiler: go.Go, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    shared = folder.parent / f"{module.name}.progress"
    progress = Progress()

    def follow() -> None:
        with suppress(OSError):
            progress.update(shared.read_text())
        time.sleep(_WAIT_SECONDS)

    with cache.locked(folder.parent / f"{module.name}.lock", wait=follow):
        if not folder.is_dir():
            began = time.monotonic()
            _build(module, compiler, folder, shared, progress)
            progress.finish(f"{module.name} built in {time.monotonic() - began:.0f} s")


def _build(module: Module, compiler: go.Go, folder: Path, shared: Path, progress: Progress) -> None:
    """Build next to the wanted folder and rename: a folder of that name is always complete."""

    def report(text: str) -> None:
        shared.write_text(text)
        progress.update(text)

    temporary = Path(tempfile.mkdtemp(prefix=f".{module.name}-", dir=folder.parent))
    try:
        Compiler(name=module.name, go=compiler.program, source=module.source, report=report).build(
            flags=module.flags,
            target=module.target,
            output=f"{temporary}/{module.output}",
        )
        for link in module.links:
            (temporary / link).symlink_to(module.output)
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shared.unlink(missing_ok=True)
