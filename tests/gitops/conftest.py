"""Fixtures of the tests with Flux's own controllers: the operator and the API server of `tests/cluster`, and Flux."""

from collections.abc import Iterator

import pytest

from dev.localkind.control_plane import ControlPlane
from tests.cluster.conftest import api, installed
from tests.cluster.operator_fixtures import new_operator, scene
from tests.gitops import flux as controllers
from tests.gitops.flux import Flux

__all__ = ["api", "installed", "new_operator", "scene"]  # fixtures that stand in another file


@pytest.fixture(scope="session")
def flux(installed: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flux]:
    """Flux at work, in a cluster where the product is installed."""
    with controllers.running(installed, tmp_path_factory.mktemp("flux")) as found:
        yield found
