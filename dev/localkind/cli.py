"""kind's command line, as far as tests and people use it, and a few words of our own.

Called by `python -m dev.localkind` and the script `kind` next to this file. Parses, makes one call, prints; a
`ClusterError` becomes one message and exit code 1.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dev.localkind import cache, kubeconfigs, launcher, processes, programs, system
from dev.localkind.progress import say

_DESCRIPTION = """\
A one-node Kubernetes cluster on this machine without Docker, with kind's command line.

The first use builds Kubernetes from source (about 15 minutes on 2 cores, once). Needs Linux and root."""


def main(words: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(words)
    # So that `kill` during `create cluster` cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        arguments.command(arguments)
    except system.ClusterError as error:
        say(f"ERROR: {error}")
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    return 0


def create_cluster(arguments: argparse.Namespace) -> None:
    """Do `create cluster`: at the end the node runs by itself, detached from this process."""
    for option in ("image", "config", "wait"):
        if getattr(arguments, option) is not None:
            say(f"--{option} has no effect here: the node is always Kubernetes {programs.KUBERNETES}, and waited for")
    began = time.monotonic()
    file = kubeconfigs.file_to_write(kubeconfigs.chosen_files(arguments.kubeconfig))
    say(f'Creating cluster "{arguments.name}" ...')
    cluster = launcher.create(arguments.name)
    kubectl = launcher.program(cluster, "kubectl")
    try:
        kubeconfigs.add(file, cluster, kubectl)
    except BaseException:
        launcher.delete(cluster.name)
        raise
    say(f"The node is ready after {time.monotonic() - began:.1f} s: Kubernetes {programs.KUBERNETES}")
    say(f"You can now use it with:\n\n{kubectl} --kubeconfig {file} --context {cluster.context} get nodes\n")


def delete_cluster(arguments: argparse.Namespace) -> None:
    """Do `delete cluster`; that there is no such cluster is fine, as with kind."""
    say(f'Deleting cluster "{arguments.name}" ...')
    kubectl = _kubectl_of(arguments.name)
    began = time.monotonic()
    if launcher.delete(arguments.name):
        say(f"Deleted after {time.monotonic() - began:.1f} s")
    for file in kubeconfigs.chosen_files(arguments.kubeconfig):
        kubeconfigs.remove(file, f"kind-{arguments.name}", kubectl)


def get_clusters(_: argparse.Namespace) -> None:
    """Do `get clusters`: the names of those that run on stdout, words about others on stderr."""
    clusters = launcher.all_clusters()
    for cluster in clusters:
        if launcher.is_running(cluster):
            print(cluster.name)
        else:
            say(
                f"({cluster.name} does not run (yet). If no other command is creating it, delete it or create it again)"
            )
    if not clusters:
        say("No kind clusters found.")


def get_kubeconfig(arguments: argparse.Namespace) -> None:
    """Do `get kubeconfig`."""
    print(launcher.find(arguments.name).kubeconfig.read_text(), end="")


def load_docker_image(arguments: argparse.Namespace) -> None:
    """Do `load docker-image`."""
    cluster = launcher.find(arguments.name)
    for image in arguments.image:
        say(f'Loading image "{image}" into cluster "{cluster.name}" ...')
        began = time.monotonic()
        launcher.load_image(cluster, image)
        say(f'Image "{image}" loaded after {time.monotonic() - began:.1f} s')


def load_image_archive(arguments: argparse.Namespace) -> None:
    """Do `load image-archive`."""
    launcher.load_archive(launcher.find(arguments.name), Path(arguments.file))


def run_inside(arguments: argparse.Namespace) -> NoReturn:
    """Do `exec`: end with the exit code of the command that ran in the node."""
    cluster = launcher.find(arguments.name)
    path = f"{launcher.program(cluster, 'ctr').parent}:{launcher.program(cluster, 'kubectl').parent}:{system.PATH}"
    inside = {**os.environ, "PATH": path, "KUBECONFIG": str(cluster.kubeconfig)}
    command = [*processes.enter(launcher.first_process(cluster)), *(arguments.words or ["sh"])]
    os.execvpe(command[0], command, inside)  # noqa: S606 -- this process becomes the command, terminal and all


def host_address(arguments: argparse.Namespace) -> None:
    """Do `host-address`."""
    print(launcher.find(arguments.name).host_address)


def build(arguments: argparse.Namespace) -> None:
    """Do `build`, and print where the programs are."""
    chosen = programs.CLUSTER if arguments.only is None else [programs.MODULES[arguments.only]]
    for name, folder in programs.ensure(chosen).items():
        print(f"{name}: {folder}")


def _kubectl_of(name: str) -> Path:
    """Return the cluster's kubectl, or any kubectl of the cache when the cluster was not made that far."""
    try:
        return launcher.program(launcher.find(name), "kubectl")
    except (system.ClusterError, OSError):
        return Path(system.which("kubectl") or "kubectl")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kind",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Clusters are kept in {cache.state_dir()} (FLAGSCHEDULE_STATE), programs in "
        f"{cache.cache_dir()} (FLAGSCHEDULE_CACHE).",
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_create(verbs)
    _add_delete(verbs)
    _add_get(verbs)
    _add_load(verbs)
    _add_own(verbs)
    return parser


if TYPE_CHECKING:
    _Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 -- its only name


def _noun(verbs: "_Verbs", verb: str, text: str) -> "_Verbs":
    return verbs.add_parser(verb, help=text, description=text).add_subparsers(required=True, metavar="WHAT")


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--name", default="kind", help="the cluster's name (default: kind)")
    return parser


def _add_create(verbs: "_Verbs") -> None:
    text = "create a cluster, wait until it can run pods, and put its context into a kubeconfig"
    parser = _named(_noun(verbs, "create", "create a cluster").add_parser("cluster", help=text, description=text))
    parser.add_argument("--kubeconfig", help="the file to add the context to (default: $KUBECONFIG or ~/.kube/config)")
    for option in ("--image", "--config", "--wait"):
        parser.add_argument(option, help="accepted for kind's sake, without effect")
    parser.set_defaults(command=create_cluster)


def _add_delete(verbs: "_Verbs") -> None:
    text = "delete a cluster, everything in it, and its context in the kubeconfig"
    parser = _named(_noun(verbs, "delete", "delete a cluster").add_parser("cluster", help=text, description=text))
    parser.add_argument("--kubeconfig", help="the file that has the context (default: $KUBECONFIG or ~/.kube/config)")
    parser.set_defaults(command=delete_cluster)


def _add_get(verbs: "_Verbs") -> None:
    nouns = _noun(verbs, "get", "list clusters, or print one's kubeconfig")
    text = "print the names of all clusters"
    nouns.add_parser("clusters", help=text, description=text).set_defaults(command=get_clusters)
    text = "print the administrator's kubeconfig"
    _named(nouns.add_parser("kubeconfig", help=text, description=text)).set_defaults(command=get_kubeconfig)


def _add_load(verbs: "_Verbs") -> None:
    nouns = _noun(verbs, "load", "put images into a cluster")
    text = "copy images from Docker or from buildah's storage of this project into a cluster"
    parser = _named(nouns.add_parser("docker-image", help=text, description=text))
    parser.add_argument("image", nargs="+", metavar="IMAGE")
    parser.set_defaults(command=load_docker_image)
    text = "put the images of an archive (docker or OCI layout) into a cluster"
    parser = _named(nouns.add_parser("image-archive", help=text, description=text))
    parser.add_argument("file", metavar="FILE")
    parser.set_defaults(command=load_image_archive)


def _add_own(verbs: "_Verbs") -> None:
    text = "run a command inside a node (not in kind), for example: exec NAME ctr -n k8s.io images list"
    parser = verbs.add_parser("exec", help=text, description=text)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    parser.set_defaults(command=run_inside)
    text = "print the address under which pods reach this host (not in kind)"
    _named(verbs.add_parser("host-address", help=text, description=text)).set_defaults(command=host_address)
    text = "build the programs of a cluster now, if they are not built yet (not in kind)"
    parser = verbs.add_parser("build", help=text, description=text)
    parser.add_argument("--only", choices=list(programs.MODULES), help="build this part only")
    parser.set_defaults(command=build)
