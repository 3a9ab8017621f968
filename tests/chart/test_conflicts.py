"""What Helm does with what a person has patched: FlagSchedules of an application's chart, and our own CronJob."""

from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from dev.chart.files import CHART
from dev.localkind.control_plane import ControlPlane
from tests.chart.rendering import Document, Helm
from tests.cluster.api import Api, flagschedule
from tests.cluster.conftest import in_namespace, install
from tests.cluster.spec_corpus import spec

pytestmark = [pytest.mark.helm, pytest.mark.apiserver]

LATER = "2035-01-02T09:00:00Z"


class Release:
    """A chart of two FlagSchedules, as an application's own."""

    def __init__(self, helm: Helm, cluster: ControlPlane, api: Api, folder: Path) -> None:
        self.api = api
        self._helm = helm
        self._kubeconfig = cluster.kubeconfig(token=cluster.token("admin"))
        self._chart = folder
        (folder / "templates").mkdir(parents=True)
        (folder / "Chart.yaml").write_text("{apiVersion: v2, name: shop, version: 1.0.0}")

    def upgrade(self, *options: str, launch: Document, end: Document) -> str:
        """Upgrade, or install, with these specs. Returns: Helm's error output."""
        for name, fields in {"launch": launch, "end": end}.items():
            text = yaml.safe_dump(flagschedule(name, spec(**fields)))
            (self._chart / "templates" / f"{name}.yaml").write_text(text)
        where = [f"--namespace={self.api.namespace}", f"--kubeconfig={self._kubeconfig}"]
        done = self._helm("upgrade", "--install", "shop", str(self._chart), *where, *options)
        return "" if done.returncode == 0 else done.stderr


@pytest.fixture
def release(helm: Helm, control_plane: ControlPlane, tmp_path: Path) -> Release:
    """The release, installed."""
    install(control_plane)
    found = Release(helm, control_plane, in_namespace(control_plane, f"test-{uuid4().hex[:8]}"), tmp_path / "shop")
    assert found.upgrade(launch={}, end={}) == ""
    return found


def test_a_hold_by_hand_survives_an_upgrade(release: Release) -> None:
    """What the chart does not name is left alone, so a schedule that is held or cancelled stays so."""
    assert release.api.patch("launch", {"spec": {"suspend": True}}).ok
    assert release.api.patch("end", {"spec": {"cancel": True}}).ok

    assert release.upgrade(launch={"maxRetries": 1}, end={}) == ""

    assert release.api.get("launch")["spec"] == spec(maxRetries=1, suspend=True)
    assert release.api.get("end")["spec"] == spec(cancel=True)


def test_a_time_moved_by_hand_must_be_in_the_chart_as_well(release: Release) -> None:
    """An upgrade with another time is refused as a whole; with the same one, or by force, it goes through."""
    assert release.api.patch("launch", {"spec": {"scheduledAt": LATER}}).ok
    cancelled = {"cancel": True}

    assert "conflict" in release.upgrade(launch={}, end=cancelled)
    assert release.upgrade(launch={"scheduledAt": LATER}, end=cancelled) == ""
    assert release.api.get("launch")["spec"]["scheduledAt"] == LATER
    assert release.upgrade("--force-conflicts", launch={}, end=cancelled) == ""
    assert release.api.get("launch")["spec"]["scheduledAt"] == spec()["scheduledAt"]


def test_an_edit_that_comes_too_late_blocks_no_upgrade(release: Release) -> None:
    """The edit of a handled schedule is let in, and the rest of the release with it; so is a rollback."""
    assert release.api.set_status("launch", observedGeneration=1, phase="Applied").ok

    assert release.upgrade(launch={"updates": {"enabled": False}}, end={"cancel": True}) == ""
    assert release.api.get("end")["spec"]["cancel"] is True
    assert release.upgrade(launch={}, end={}) == ""


def test_the_emergency_stop_is_not_undone_by_an_upgrade(helm: Helm, control_plane: ControlPlane) -> None:
    """While the CronJob is held by hand an upgrade is refused, unless its values hold it, too."""
    install(control_plane)
    namespace = in_namespace(control_plane, f"test-{uuid4().hex[:8]}").namespace
    where = [f"--namespace={namespace}", f"--kubeconfig={control_plane.kubeconfig(token=control_plane.token('admin'))}"]
    values: Document = {
        "fullnameOverride": f"flags-{namespace[-8:]}",
        "crds": {"enabled": False},
        "admissionPolicies": {"enabled": False},
        "migrations": {"enabled": False},
    }

    def upgrade(*, suspend: bool) -> str:
        chosen = {**values, "processor": {"suspend": suspend}}
        return helm("upgrade", "--install", "flags", str(CHART), *where, values=chosen).stderr

    def patch(*, suspend: bool) -> None:
        name = f"{values['fullnameOverride']}-processor"
        wish = f'--patch={{"spec":{{"suspend":{str(suspend).lower()}}}}}'
        control_plane.kubectl("patch", "cronjob", name, f"--namespace={namespace}", wish)

    assert "Error" not in upgrade(suspend=False)
    patch(suspend=True)
    assert "conflict" in upgrade(suspend=False)
    assert "Error" not in upgrade(suspend=True)
    patch(suspend=False)
    assert "Error" not in upgrade(suspend=False)
    assert "Error" not in helm("uninstall", "flags", *where).stderr
