"""`helm test` makes a real change with the rights that it brings, and says what to do where it cannot."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from dev.chart.files import CHART
from dev.localkind.control_plane import ControlPlane
from tests.chart.rendering import EVERYTHING, Helm, Render
from tests.chart.test_switches import merged
from tests.cluster.api import eventually
from tests.cluster.conftest import in_namespace, install
from tests.cluster.operator_fixtures import Scene, operators
from tests.integration.database import connected
from tests.waiting import PATIENCE

pytestmark = pytest.mark.helm

NAME = "flagschedule-test"


class Pod:
    """The test's pod, as a process with its account."""

    def __init__(self, control_plane: ControlPlane, render: Render, namespace: str, folder: Path) -> None:
        kinds = ("ServiceAccount", "Role", "RoleBinding")
        text = "\n---\n".join(json.dumps(render.of(kind)[NAME]) for kind in kinds)
        control_plane.kubectl("apply", "--filename=-", input=text)
        token = control_plane.kubectl("create", "token", NAME, f"--namespace={namespace}")
        (folder / "token").write_text(token)
        (folder / "ca.crt").write_bytes(control_plane.ca_file.read_bytes())
        [container] = render.one("Pod", NAME)["spec"]["containers"]
        [_, script, _] = container["command"]
        self._command = [sys.executable, str(CHART / "files" / Path(script).name), str(folder)]
        server = urlsplit(control_plane.server)
        self._environment = {
            "PATH": os.environ["PATH"],
            "KUBERNETES_SERVICE_HOST": str(server.hostname),
            "KUBERNETES_SERVICE_PORT": str(server.port),
            **{variable["name"]: variable["value"] for variable in container["env"]},
        }

    def run(self) -> tuple[int, str]:
        """Run it to its end. Returns: its exit code and what it printed."""
        done = subprocess.run(
            self._command, env=self._environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.stderr == ""
        return done.returncode, done.stdout


@pytest.fixture
def scene(control_plane: ControlPlane, database_url: str, tmp_path: Path) -> Iterator[Scene]:
    """A running operator, and a run of the processor that waits for what comes due."""
    install(control_plane)
    api = in_namespace(control_plane, f"test-{uuid4().hex[:8]}")
    with connected(database_url) as database, operators(control_plane, api.namespace, tmp_path) as new_operator:
        found = Scene(api, database, new_operator(database_url))
        found.operator.start()
        command = [sys.executable, "-m", "flagschedule", "process"]
        settings = {"DATABASE_URL": database_url, "FLAG_SCHEDULE_LINGER_SECONDS": "100"}
        processor = subprocess.Popen(command, env={"PATH": os.environ["PATH"], **settings}, stderr=subprocess.DEVNULL)
        yield found
        processor.terminate()
        processor.wait(PATIENCE)


@pytest.mark.apiserver
def test_it_changes_a_flag_of_its_own(helm: Helm, control_plane: ControlPlane, scene: Scene, tmp_path: Path) -> None:
    """Without the flag it fails with the statement that creates it; then it changes the flag, and leaves no object."""
    namespace = scene.api.namespace
    render = helm.render({"namespaces": [namespace]}, namespace=namespace, tests=True)
    pod = Pod(control_plane, render, namespace, tmp_path)

    code, said = pod.run()
    assert code == 1
    [statement] = [line.strip() for line in said.splitlines() if "INSERT" in line]
    scene.database.connection.execute(statement.encode())
    code, said = pod.run()

    assert code == 0, said
    enabled, rollout = scene.database.query("SELECT enabled, rollout_percentage FROM feature_flags")[0].values()
    assert not enabled
    assert rollout > 0
    assert said.endswith(f"={rollout}\n")
    eventually(lambda: scene.api.list() == {}, "the objects are deleted")


@pytest.mark.apiserver
def test_it_fails_where_the_operator_is_away(
    helm: Helm, control_plane: ControlPlane, scene: Scene, tmp_path: Path
) -> None:
    """It ends after its timeout and says what the last status was."""
    assert scene.operator.stop() == 0
    namespace = scene.api.namespace
    values = {"namespaces": [namespace], "helmTest": {"timeoutSeconds": 10}}
    pod = Pod(control_plane, helm.render(values, namespace=namespace, tests=True), namespace, tmp_path)

    code, said = pod.run()

    assert code == 1
    assert "does the operator run?" in said


def test_it_is_there_for_helm_test_alone(helm: Helm) -> None:
    """Each of its objects is a hook of `helm test`, so that nothing of it is installed or upgraded."""
    before, after = helm.render(EVERYTHING), helm.render(EVERYTHING, tests=True)
    ours = [obj for obj in after.objects if obj not in before.objects]

    assert {obj["kind"] for obj in ours} == {
        *("ConfigMap", "NetworkPolicy", "Pod", "Role", "RoleBinding", "ServiceAccount")
    }
    assert {obj["metadata"]["annotations"]["helm.sh/hook"] for obj in ours} == {"test"}
    off = helm.render(merged(EVERYTHING, {"helmTest": {"enabled": False}}), tests=True)
    assert off.objects == before.objects


def test_its_pod_follows_the_rules_of_the_others(helm: Helm) -> None:
    """The platform's image, Secrets and node rules hold for it; only the operator's network is open to it."""
    render = helm.render(EVERYTHING, tests=True)
    pod, operator = render.one("Pod", NAME)["spec"], render.templates()["operator"]["spec"]

    for key in ("securityContext", "imagePullSecrets", "nodeSelector", "tolerations", "affinity", "enableServiceLinks"):
        assert pod[key] == operator[key], key
    assert pod["containers"][0]["securityContext"] == operator["containers"][0]["securityContext"]
    assert pod["containers"][0]["image"] == operator["containers"][0]["image"]
    egress = render.one("NetworkPolicy", NAME)["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in egress] == [[53, 53], [443, 6443]]
