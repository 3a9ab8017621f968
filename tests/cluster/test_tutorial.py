"""The commands of docs/tutorial/first-schedule.md have the results that the page names, on the real parts."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.demo.stores import programs
from dev.localkind.control_plane import ControlPlane
from tests import roles
from tests.cluster.operator_fixtures import Scene

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(900)]  # it waits for a change that is due in 20 s

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "first-schedule.md"
# After the first block, which starts the demo: what the fixtures do here.
_DEMO, *BLOCKS = re.findall(r"```sh\n(.*?)```", _PAGE.read_text(), re.DOTALL)

Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(scene: Scene, installed: ControlPlane) -> Shell:
    """Runs commands as a reader does who pasted what the demo prints."""
    kubeconfig = installed.kubeconfig(token=installed.token("admin"))
    environment = {
        "KUBECONFIG": str(kubeconfig),
        "PATH": f"{installed.kubectl_program.parent}:{programs()}:{os.environ['PATH']}",
        "DATABASE_URL": scene.operator.database_url,
        "HOME": str(kubeconfig.parent),  # kubectl's cache
    }

    def run(block: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euc", block], env=environment, capture_output=True, text=True, timeout=240, check=False
        )

    assert run(f"kubectl config set-context --current --namespace={scene.api.namespace}").returncode == 0
    return run


@contextmanager
def _processor(scene: Scene) -> Iterator[None]:
    """Run a lingering processor, as the CronJob does."""
    url = roles.url(scene.operator.database_url, "process")
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url, "FLAG_SCHEDULE_LINGER_SECONDS": "240"}
    with subprocess.Popen(
        [sys.executable, "-m", "flagschedule", "process"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        try:
            yield
        finally:
            run.terminate()


def test_the_tutorial_can_be_followed(scene: Scene, shell: Shell) -> None:
    """Each step has the result that the page names: planned, applied, refused, cancelled, recorded."""
    plan, wait, mistake, change_of_mind, history = BLOCKS
    flag = scene.database.flag("checkout-v2")

    assert re.search(r"checkout-v2-for-all .* Pending ", _output(shell(plan)))
    with _processor(scene):
        applied = _output(shell(wait))
    assert re.search(r"checkout-v2-for-all .* Applied ", applied)
    assert re.search(r"checkout-v2 +\| f +\| +100", applied)

    refused = shell(mistake)
    assert refused.returncode != 0
    assert "in the future" in refused.stderr

    scene.reaches("checkout-v2-for-all", "Applied")
    assert "cancelled" in _output(shell(change_of_mind))
    assert scene.database.state(flag) == (False, 100)

    assert re.search(r"\| applied +\| +0 \| +100", _output(shell(history)))


def _output(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout
