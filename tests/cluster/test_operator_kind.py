"""The operator while its kind is deleted and made again. On an API server of its own, as that ends every object."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.localkind.control_plane import ControlPlane
from tests.cluster.api import eventually
from tests.cluster.conftest import ROOT, in_namespace, install
from tests.cluster.operator_fixtures import Scene, operators
from tests.integration.database import connected

pytestmark = pytest.mark.apiserver

_CRD = "crd/flagschedules.flagschedule.io"


@pytest.fixture(scope="module")
def alone() -> Iterator[ControlPlane]:
    """An API server with `manifests/base`."""
    with ControlPlane() as made:
        install(made)
        yield made


def test_it_goes_on_when_its_kind_is_made_again(alone: ControlPlane, database_url: str, tmp_path: Path) -> None:
    """Deleting the CRD gives up what was planned; the operator waits, and mirrors new objects once the CRD is back."""
    api = in_namespace(alone, "shop")
    with operators(alone, api.namespace, tmp_path) as make, connected(database_url) as database:
        database.flag("checkout")
        scene = Scene(api, database, make(database_url))
        scene.operator.start()
        scene.create("before")
        scene.reaches("before", "Pending")

        alone.kubectl("delete", _CRD)
        assert scene.row("before")["status"] == "cancelled"
        eventually(lambda: scene.operator.lines("API server lost"), "it says that the kind is gone")
        alone.kubectl("apply", "--server-side", f"--filename={ROOT / 'crds' / 'flagschedules.yaml'}")
        alone.kubectl("wait", "--for=condition=Established", _CRD, "--timeout=120s")

        scene.create("after")
        scene.reaches("after", "Pending")
        assert scene.operator.lines("Operator started")[1:] == []
        assert scene.operator.stop() == 0
