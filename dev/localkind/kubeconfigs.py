"""Kubeconfigs: making our own, and adding our context to a person's without touching anything else in it.

Called by the launcher, the control plane and the command line. A person's file is only ever changed by kubectl
itself, which keeps what it does not know.
"""

import base64
import json
import os
from contextlib import suppress
from pathlib import Path

from dev.localkind import system
from dev.localkind.naming import Cluster


def with_certificate(cluster: Cluster, user: str) -> str:
    """Return the kubeconfig of a certificate's owner, everything inline."""
    return document(
        cluster.context,
        {"server": cluster.server, "certificate-authority-data": _inline(cluster.certs / "ca.crt")},
        {
            "client-certificate-data": _inline(cluster.certs / f"{user}.crt"),
            "client-key-data": _inline(cluster.certs / f"{user}.key"),
        },
    )


def with_token(*, context: str, server: str, ca: Path, token: str) -> str:
    """Return the kubeconfig of a token's owner, everything inline. An empty token: no credentials."""
    user = {"token": token} if token else {}
    return document(context, {"server": server, "certificate-authority-data": _inline(ca)}, user)


def document(context: str, cluster: dict[str, str], user: dict[str, str]) -> str:
    """Return a kubeconfig with one cluster, one user and one context of the same name. JSON is YAML."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": cluster}],
        "users": [{"name": context, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
    }
    return json.dumps(content, indent=2) + "\n"


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        file.chmod(0o600)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)


def chosen_files(option: str | None) -> list[Path]:
    """Return the kubeconfigs that a command is about: `--kubeconfig`, else `$KUBECONFIG`, else ~/.kube/config."""
    if option:
        return [Path(option).expanduser()]
    listed = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return listed or [Path.home() / ".kube" / "config"]


def file_to_write(files: list[Path]) -> Path:
    """Return the first of several kubeconfigs that exists, else the last, as kubectl does."""
    return next((file for file in files if file.exists()), files[-1])


def add(file: Path, cluster: Cluster, kubectl: Path) -> None:
    """Put the cluster's context into a kubeconfig and make it the current one; all else in the file stays.

    Raises:
        ClusterError: the file is not a kubeconfig.
    """
    if not file.exists() or not file.read_text().strip():
        write_private(file, cluster.kubeconfig.read_text())
        return
    name, certs = cluster.context, cluster.certs
    config = (kubectl, f"--kubeconfig={file}", "config")
    authority = (f"--certificate-authority={certs / 'ca.crt'}", "--embed-certs=true")
    client = (f"--client-certificate={certs / 'admin.crt'}", f"--client-key={certs / 'admin.key'}")
    system.run(*config, "set-cluster", name, f"--server={cluster.server}", *authority)
    system.run(*config, "set-credentials", name, *client, "--embed-certs=true")
    system.run(*config, "set-context", name, f"--cluster={name}", f"--user={name}")
    system.run(*config, "use-context", name)


def remove(file: Path, context: str, kubectl: Path) -> None:
    """Take a cluster's context out of a kubeconfig again; a file that then holds nothing else is deleted."""
    try:
        text = file.read_text()
    except OSError:
        return
    if context not in text:
        return
    if _is_only(text, context):
        file.unlink()
        return
    config = (kubectl, f"--kubeconfig={file}", "config")
    if system.run(*config, "view", "-o", "jsonpath={.current-context}").strip() == context:
        system.run(*config, "unset", "current-context")
    for kind in ("contexts", "clusters", "users"):
        system.run(*config, "unset", f"{kind}.{context}")


def _is_only(text: str, context: str) -> bool:
    """Return whether this is a file that `add` wrote for this cluster alone and that is unchanged."""
    try:
        content = json.loads(text)
    except ValueError:
        return False
    return all(
        [entry.get("name") for entry in content.get(kind, [])] == [context]
        for kind in ("contexts", "clusters", "users")
    )


def _inline(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
