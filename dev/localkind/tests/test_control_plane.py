"""The control plane without a node, and the builder of its programs."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dev.localkind import compiler, go, programs
from dev.localkind.control_plane import ControlPlane
from dev.localkind.servers.guard import wait_until
from dev.localkind.system import ClusterError
from dev.localkind.tests import PATIENCE

pytestmark = pytest.mark.apiserver


def test_two_control_planes_live_side_by_side() -> None:
    """Two control planes have their own addresses and data, and controllers work in both."""
    with ControlPlane() as one, ControlPlane() as two:
        one.kubectl("create", "namespace", "only-here")
        assert one.server != two.server
        assert "only-here" not in two.kubectl("get", "namespaces")
        assert wait_until(
            lambda: "default" in one.kubectl("get", "serviceaccounts", "--namespace=only-here"), PATIENCE
        ), "not in time: controllers work"


def test_users_are_distinguished() -> None:
    """A user without a role may do nothing, a wrong token is refused, and the error has the server's words."""
    with ControlPlane() as control_plane:
        assert "yes" in control_plane.kubectl("auth", "can-i", "*", "*")
        for user in ("editor", "viewer", "norights"):
            with pytest.raises(ClusterError, match=f'User "{user}" cannot list'):
                control_plane.kubectl("get", "pods", user=user)
        wrong = control_plane.kubeconfig(token="wrong")  # noqa: S106 -- it is no secret
        with pytest.raises(ClusterError, match="Unauthorized"):
            control_plane.kubectl(f"--kubeconfig={wrong}", "get", "pods")


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


def test_a_killed_test_run_leaves_nothing() -> None:
    """When the process that started it is killed, so are the daemons; the next start removes their files."""
    script = (
        "import sys; from dev.localkind.control_plane import ControlPlane\n"
        "c = ControlPlane(); c.start(); print(c.kubeconfig().parent, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        folder = Path(owner.stdout.readline().strip())
        assert len(processes_of(folder)) == 3
        owner.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not processes_of(folder), PATIENCE), "not in time: the daemons are gone"
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


def test_a_failed_build_says_why(tmp_path: Path) -> None:
    """The compiler's own words reach the person, with what to do."""
    (tmp_path / "go.mod").write_text("module x\n\ngo 1.26\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() { undefinedFunction() }\n")
    broken = compiler.Compiler(name="x", go=go.find().program, source=tmp_path, report=lambda _: None)
    with pytest.raises(ClusterError, match="undefined: undefinedFunction") as raised:
        broken.build(flags=(), target=".", output=str(tmp_path / "x"))
    assert "run the command again" in str(raised.value)
