"""Flux's own controllers against a local API server, and the Git repository that they read.

For tests with the marker `flux`.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import yaml

from dev.localkind import go, programs
from dev.localkind.compiler import go_environment
from dev.localkind.control_plane import ControlPlane
from tests.cluster.api import Object, eventually
from tests.cluster.operator_fixtures import free_port

SYSTEM: Final = "flux-system"
INTERVAL: Final = 2  # seconds between two comparisons; Flux's users have minutes
_MODULES: Final = ("github.com/fluxcd/source-controller", "github.com/fluxcd/kustomize-controller")
_AUTHOR: Final = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "tests"), ("EMAIL", "tests@example.com"))
}


class Flux:
    """The two controllers, and one repository of which each folder is a Kustomization."""

    def __init__(self, control_plane: ControlPlane, repository: Path) -> None:
        self._control_plane = control_plane
        self._repository = repository

    def commit(self, folder: str, files: dict[str, Any]) -> str:
        """Write files of a folder and commit them; None deletes a file, text is written as it is.

        Returns:
            The id of the commit.
        """
        for name, content in files.items():
            file = self._repository / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                file.unlink()
            else:
                file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message=change")
        return self._git("rev-parse", "HEAD").strip()

    def follow(self, folder: str, **spec: Any) -> None:
        """Let Flux apply a folder from now on; fields of `spec` replace these, None leaves a field out."""
        whole = {
            "interval": f"{INTERVAL}s",
            "retryInterval": f"{INTERVAL}s",
            "timeout": "60s",
            "path": f"./{folder}",
            "prune": True,
            "wait": True,
            "targetNamespace": folder,
            "sourceRef": {"kind": "GitRepository", "name": "fleet"},
            **spec,
        }
        given = {field: value for field, value in whole.items() if value is not None}
        self._apply("kustomize.toolkit.fluxcd.io/v1", "Kustomization", folder, given)

    def unfollow(self, folder: str) -> None:
        """Delete the Kustomization of a folder, and with it all that it applied."""
        self._control_plane.kubectl("delete", "kustomization.kustomize.toolkit.fluxcd.io", folder, f"-n={SYSTEM}")

    def ready(self, folder: str, revision: str) -> Object:
        """Return the condition Ready of a folder if this commit was attempted last; else an empty one."""
        found = self._control_plane.kubectl(
            "get", "kustomization.kustomize.toolkit.fluxcd.io", folder, f"-n={SYSTEM}", "--output=json"
        )
        obj = json.loads(found)
        status = obj.get("status", {})
        if not status.get("lastAttemptedRevision", "").endswith(revision):
            return {}
        conditions: dict[str, Object] = {each["type"]: each for each in status.get("conditions", [])}
        ready = conditions.get("Ready", {})
        return ready if ready.get("observedGeneration") == obj["metadata"]["generation"] else {}

    def succeeds(self, folder: str, revision: str) -> None:
        """Wait until a commit is applied and everything in it is healthy."""
        eventually(lambda: self.ready(folder, revision).get("status") == "True", f"{folder} is ready")

    def fails(self, folder: str, revision: str) -> Object:
        """Wait until a commit has failed. Returns: the condition that says why."""
        return eventually(
            lambda: self.ready(folder, revision) if self.ready(folder, revision).get("status") == "False" else {},
            f"{folder} has failed",
        )

    def install(self, url: str) -> None:
        """Create the kinds of Flux and the source, which the controllers need to start."""
        kinds = [str(file) for module in _sources() for file in sorted((module / "config/crd/bases").glob("*.yaml"))]
        files = [f"--filename={file}" for file in kinds]
        self._control_plane.kubectl("apply", "--server-side", *files)
        self._control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", *files)
        self._control_plane.kubectl("create", "namespace", SYSTEM)
        spec = {"interval": "1s", "url": url, "ref": {"branch": "main"}}
        self._apply("source.toolkit.fluxcd.io/v1", "GitRepository", "fleet", spec)

    def _apply(self, version: str, kind: str, name: str, spec: Object) -> None:
        obj = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": SYSTEM}, "spec": spec}
        self._control_plane.kubectl("apply", "--server-side", "--filename=-", input=json.dumps(obj))

    def _git(self, *words: str) -> str:
        return _git(self._repository, *words)


@contextmanager
def running(control_plane: ControlPlane, folder: Path) -> Iterator[Flux]:
    """Run both controllers as the administrator, and serve the repository to them."""
    repository = folder / "fleet"
    repository.mkdir()
    _git(repository, "init", "--quiet", "--initial-branch=main")
    _git(repository, "commit", "--quiet", "--allow-empty", "--message=begin")
    flux = Flux(control_plane, repository)
    with _served(folder) as address:
        flux.install(f"{address}/fleet/.git")
        artifacts = f"127.0.0.1:{free_port()}"
        storage = (f"--storage-path={folder}", f"--storage-addr={artifacts}", f"--storage-adv-addr={artifacts}")
        with (
            _controller("source-controller", control_plane, folder, *storage),
            _controller("kustomize-controller", control_plane, folder, "--requeue-dependency=1s"),
        ):
            yield flux


@contextmanager
def _controller(name: str, control_plane: ControlPlane, folder: Path, *options: str) -> Iterator[None]:
    program = programs.ensure([programs.FLUX])["flux"] / name
    scratch = folder / name
    scratch.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "KUBECONFIG": str(control_plane.kubeconfig()),
        "RUNTIME_NAMESPACE": SYSTEM,
    }
    addresses = ("--metrics-addr=0", "--events-addr=", f"--health-addr=127.0.0.1:{free_port()}")
    # The kernel ends it with the tests, even when they are killed.
    command: list[str | Path] = ["setpriv", "--pdeathsig", "KILL", program, *addresses, *options]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _sources() -> list[Path]:
    """Return the folders of the controllers' sources, in which their kinds are."""
    run = partial(
        subprocess.run, cwd=programs.FLUX.source, env=go_environment(), check=True, capture_output=True, text=True
    )
    run([go.find().program, "mod", "download", *_MODULES])
    found = run([go.find().program, "list", "-m", "-f", "{{.Dir}}", *_MODULES])
    return [Path(line) for line in found.stdout.splitlines()]


def _git(repository: Path, *words: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(repository), **_AUTHOR}
    done = subprocess.run(
        ["git", "-C", repository, *words], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


@contextmanager
def _served(root: Path) -> Iterator[str]:
    """Serve every repository of a folder by Git's own program. Yields: the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Backend,), {"root": root})) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Backend(BaseHTTPRequestHandler):
    """`git http-backend` by the rules of CGI."""

    root: Path

    def do_GET(self) -> None:
        """Answer by the program."""
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        done = subprocess.run(["git", "http-backend"], input=sent, env=environment, check=True, capture_output=True)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 -- the name that the base class calls

    def log_message(self, *_: Any) -> None:
        """Write no line for each request."""
