"""The two kinds of clusters that the demo can use: one made for it, and one that the reader already has.

Called by the story. Both give the demo a kubeconfig of its own with one context in it, so that it cannot act on
another cluster, also when the reader switches contexts meanwhile.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from dev.demo import commands, images
from dev.demo.choices import Choices
from dev.demo.commands import CommandFailedError, DemoError, Kubectl, Run
from dev.demo.installation import IMAGE, NAMESPACE, check_address
from dev.demo.narrator import Narrator
from dev.localkind import cache, kind_binary, system

DEMO_NAMESPACE: Final = "flagschedule-demo"
OVERLAY: Final = Path(__file__).parent / "overlay"
_OWN_NAME: Final = "flagschedule-demo"
_KINDS: Final = "flagschedules.flagschedule.io,flagplans.flagschedule.io,flagfreezes.flagschedule.io"
_MARK: Final = "flagschedule.io/demo"
_FINALIZERS_SECONDS: Final = 15


class Cluster(Protocol):
    """A cluster for the demo, from `prepare` until `remove`."""

    title: str
    why: str

    def check(self) -> None:
        """Refuse at once what cannot work. Raises DemoError."""

    def prepare(self) -> None:
        """Make it usable and write the kubeconfig. Raises DemoError."""

    def host(self) -> str:
        """Return the address under which its pods reach this machine. Raises DemoError."""

    def manifests(self) -> Path:
        """Return the kustomization to install there."""

    def remove(self) -> None:
        """Remove all of the demo from it; what is not there is fine. Raises DemoError."""


def choose(choices: Choices, narrator: Narrator, folder: Path) -> Cluster:
    """Return the reader's cluster if one was named, else our own."""
    if choices.context:
        return GivenCluster(choices, narrator, folder)
    return OwnCluster(narrator, folder)


class OwnCluster:
    """A cluster that is created for the demo and deleted with it."""

    title = "A Kubernetes cluster"
    why = (
        "A real one-node Kubernetes is started for the demo, and the image is copied into it. It has its own "
        "kubeconfig; yours is not touched."
    )

    def __init__(self, narrator: Narrator, folder: Path) -> None:
        self._narrator = narrator
        self._kubeconfig = folder / "kubeconfig"
        self._kubectl = Kubectl(self._kubeconfig)

    def check(self) -> None:
        """See Cluster."""
        if kind_binary.is_own():
            with translated():
                system.require_root()

    def prepare(self) -> None:
        """See Cluster."""
        if _OWN_NAME in _kind("get", "clusters").split():
            self._narrator.say("An earlier demo was ended before it could clean up: its cluster is deleted first.")
            self.remove()
        self._narrator.command("kind", "create", "cluster", f"--name={_OWN_NAME}")
        with self._narrator.waiting("Starting etcd, the API server, its controllers and a node"):
            _kind("create", "cluster", f"--name={_OWN_NAME}", f"--kubeconfig={self._kubeconfig}")
        self._narrator.command("kind", "load", "docker-image", f"--name={_OWN_NAME}", IMAGE)
        with self._narrator.waiting("Copying the image into the node"):
            _kind("load", "docker-image", f"--name={_OWN_NAME}", IMAGE)
        set_namespace(self._kubectl)

    def host(self) -> str:
        """See Cluster."""
        with translated():
            return kind_binary.host_address(_OWN_NAME)

    def manifests(self) -> Path:
        """See Cluster."""
        return OVERLAY

    def remove(self) -> None:
        """See Cluster."""
        with self._narrator.waiting("Deleting the cluster"):
            _kind("delete", "cluster", f"--name={_OWN_NAME}", f"--kubeconfig={self._kubeconfig}")


class GivenCluster:
    """A cluster of the reader's: used only by name, and left as it was found."""

    title = "Your cluster"

    def __init__(self, choices: Choices, narrator: Narrator, folder: Path) -> None:
        self.why = (
            f"The cluster of your context {choices.context} is used, because DEMO_CONTEXT says so. Created there: the "
            f"namespaces {NAMESPACE} and {DEMO_NAMESPACE} with all that is in them, the kind FlagSchedule, and the "
            "cluster roles and admission policies whose names begin with flagschedule. All of it is removed at the "
            "end, every FlagSchedule included."
        )
        self._choices = choices
        self._narrator = narrator
        self._folder = folder
        self._kubeconfig = folder / "kubeconfig"
        self._kubectl = Kubectl(self._kubeconfig)
        self._kind_name = choices.context.removeprefix("kind-") if choices.context.startswith("kind-") else ""
        self._is_ours = False

    def check(self) -> None:
        """See Cluster."""
        contexts = commands.run([commands.kubectl_program(), "config", "get-contexts", "--output=name"]).split()
        if self._choices.context not in contexts:
            raise DemoError(
                f"Your kubeconfig has no context {self._choices.context!r}; it has: {', '.join(contexts) or 'none'}."
            )
        if not self._kind_name and not self._choices.image:
            raise DemoError(
                "This is not a cluster of kind, so the image cannot be copied into it: build it with `docker build`, "
                "push it where the cluster can pull it, and name it with DEMO_IMAGE."
            )
        if not self._kind_name and not self._choices.host:
            raise DemoError("Set DEMO_HOST to the address of this machine under which the cluster's pods reach it.")
        if self._choices.host:
            check_address(self._choices.host)
        self._write_kubeconfig()
        with self._narrator.waiting("Looking whether anything there has the names that the demo uses"):
            self._refuse_foreign_objects()
        self._is_ours = True

    def prepare(self) -> None:
        """See Cluster."""
        self.remove()  # objects that an earlier demo left there
        if not self._choices.image:
            self._narrator.command("kind", "load", "docker-image", f"--name={self._kind_name}", IMAGE)
            with self._narrator.waiting("Copying the image into the node"):
                _kind("load", "docker-image", f"--name={self._kind_name}", IMAGE)

    def host(self) -> str:
        """See Cluster."""
        if self._choices.host:
            return self._choices.host
        with translated():
            return kind_binary.host_address(self._kind_name)

    def manifests(self) -> Path:
        """See Cluster."""
        if not self._choices.image:
            return OVERLAY
        return images.overlay(OVERLAY, self._folder / "overlay", self._choices.image)

    def remove(self) -> None:
        """See Cluster. Does nothing unless all that is there is known to be the demo's."""
        if not self._is_ours:
            return
        with self._narrator.waiting("Removing all that the demo made in the cluster"):
            # The objects are deleted first, while the operator still runs and removes its finalizer.
            with suppress(CommandFailedError):
                timeout = f"--timeout={_FINALIZERS_SECONDS}s"
                self._kubectl("delete", _KINDS, "--all", "--all-namespaces", timeout)
            self._drop_finalizers()
            self._kubectl("delete", "namespace", DEMO_NAMESPACE, NAMESPACE, "--ignore-not-found")
            self._kubectl("delete", "-k", str(OVERLAY), "--ignore-not-found")

    def _write_kubeconfig(self) -> None:
        view = ("config", "view", "--raw", "--minify", "--flatten", f"--context={self._choices.context}")
        self._kubeconfig.touch(mode=0o600)
        self._kubeconfig.write_text(commands.run([commands.kubectl_program(), *view]))
        set_namespace(self._kubectl)

    def _refuse_foreign_objects(self) -> None:
        """Refuse to go on where something has our names but not our mark.

        Raises:
            DemoError: naming what is there.
        """
        look = ("get", "--ignore-not-found", "--output=json")
        answers = [
            self._kubectl(*look, "-k", str(OVERLAY)),
            self._kubectl(*look, "namespace", DEMO_NAMESPACE, NAMESPACE),
        ]
        foreign = sorted({name for answer in answers for name in _unmarked(answer)})
        if foreign:
            raise DemoError(
                f"The cluster of {self._choices.context} has {', '.join(foreign)} already, not made by a demo. "
                "Nothing was changed there. Use another cluster, or remove FlagSchedule from this one first."
            )

    def _drop_finalizers(self) -> None:
        """Free the objects that no operator is there to free."""
        with suppress(CommandFailedError):  # the kind is gone
            names = '{range .items[*]}{.kind} {.metadata.name} {.metadata.namespace}{"\\n"}{end}'
            left = self._kubectl("get", _KINDS, "-A", f"--output=jsonpath={names}")
            for line in left.splitlines():
                kind, name, *namespace = line.split()
                free = ("--type=merge", '--patch={"metadata":{"finalizers":null}}')
                self._kubectl("patch", kind.lower(), name, *(f"--namespace={each}" for each in namespace), *free)


def mark(kubectl: Run, namespace: str) -> None:
    """Mark a namespace as the demo's."""
    kubectl("label", "namespace", namespace, f"{_MARK}=true")


def set_namespace(kubectl: Kubectl) -> None:
    """Make the demo's namespace the one that kubectl uses when none is named."""
    kubectl("config", "set-context", "--current", f"--namespace={DEMO_NAMESPACE}")


def check_disk() -> None:
    """Refuse to begin without the space that is needed.

    Raises:
        DemoError: there is too little.
    """
    folder = cache.cache_dir()
    needed = 2 if any(folder.glob("programs/*")) else 10
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free // 10**9
    if free < needed:
        raise DemoError(
            f"Only {free} GB are free where {folder} is, and about {needed} GB are needed. Make room, or set "
            "FLAGSCHEDULE_CACHE to a folder on another disk."
        )


@contextmanager
def translated() -> Iterator[None]:
    """Turn the launcher's errors into ours; both are sentences for a person."""
    try:
        yield
    except system.ClusterError as error:
        raise DemoError(str(error)) from error


def _kind(*words: str) -> str:
    # Its folder comes first in PATH, so that an administrator's programs are found from any shell.
    try:
        return commands.run([*kind_binary.kind_command(), *words], env={"PATH": system.PATH})
    except CommandFailedError as error:
        raise DemoError(f"`kind {' '.join(words)}` failed. {error.said.removeprefix('ERROR: ')}") from error


def _unmarked(answer: str) -> list[str]:
    """Return the objects of kubectl's answer, one or a list or nothing, that no demo made."""
    found = json.loads(answer or '{"items": []}')
    return [
        f"{obj['kind']}/{obj['metadata']['name']}"
        for obj in found.get("items", [found])
        if obj["metadata"].get("labels", {}).get(_MARK) != "true"
    ]
