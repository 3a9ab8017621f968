"""Fixtures of the tests of the Helm chart. All of them need the program helm, which is built where it is missing."""

import pytest

from dev.localkind import programs
from tests.chart.rendering import EVERYTHING, NAMESPACED, Helm, Render


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The program."""
    return Helm(programs.ensure([programs.HELM])["helm"] / "helm", tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def default(helm: Helm) -> Render:
    """What is installed without any value."""
    return helm.render()


@pytest.fixture(scope="session")
def everything(helm: Helm) -> Render:
    """What is installed with every switch on."""
    return helm.render(EVERYTHING)


@pytest.fixture(scope="session")
def namespaced(helm: Helm) -> Render:
    """What is installed for two namespaces."""
    return helm.render(NAMESPACED)


@pytest.fixture(params=["default", "everything", "namespaced"])
def any_render(request: pytest.FixtureRequest) -> Render:
    """Each of the three in turn."""
    found: Render = request.getfixturevalue(request.param)
    return found
