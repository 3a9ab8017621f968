"""Fixtures of the tests in pods: pytest-kind's cluster, and the product installed in it once.

The cluster is kind's where Docker runs and our own elsewhere. It is always one that this run made.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis as redis_client
from psycopg.rows import dict_row
from pytest_kind import KindCluster

from dev.demo.commands import CommandFailedError, Kubectl, kubectl_program, run
from dev.demo.installation import IMAGE, Installation
from dev.localkind import kind_binary, programs
from dev.localkind.tests import runs
from tests.e2e.pods import NAMESPACE, Pods
from tests.e2e.release import ChartInstallation, Release
from tests.integration.database import Database

_PURPOSE = "flagschedule-e2e"


@pytest.fixture(scope="session", autouse=True)
def _own_cluster(pytestconfig: pytest.Config) -> Iterator[None]:
    """Set the programs that pytest-kind uses, and make a cluster for this run alone."""
    if pytestconfig.getoption("kubeconfig"):
        pytest.exit("These tests never use a cluster that exists already: run them without --kubeconfig.", 2)
    kind = kind_binary.kind_command()[0]
    runs.delete_leftovers(kind, _PURPOSE)
    name = runs.own_name(_PURPOSE)
    option = pytestconfig.option
    option.cluster_name, option.kind_bin, option.kind_kubectl_bin = name, kind, str(kubectl_program())
    yield
    if not pytestconfig.getoption("keep_cluster"):
        shutil.rmtree(Path(".pytest-kind", name), ignore_errors=True)


@pytest.fixture(scope="session")
def kubectl(kind_cluster: KindCluster) -> Kubectl:
    """The administrator's kubectl; refuses any cluster but the one that was just made."""
    found = Kubectl(kind_cluster.kubeconfig_path.absolute())
    contexts = found("config", "get-contexts", "--output=name").split()
    assert contexts == [f"kind-{kind_cluster.name}"], f"a foreign kubeconfig: {contexts}"
    return found


@pytest.fixture(scope="session")
def in_node(kind_cluster: KindCluster) -> Callable[..., str]:
    """Runs a command in the cluster's node."""
    own = [kind_binary.kind_command()[0], "exec", kind_cluster.name]
    node = own if kind_binary.is_own() else ["docker", "exec", f"{kind_cluster.name}-control-plane"]
    return lambda *words: run([*node, *words])


@pytest.fixture(scope="session")
def release(kubectl: Kubectl, kind_cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Helm, and the release that it makes of the chart."""
    program = programs.ensure([programs.HELM])["helm"] / "helm"
    return Release(program, kind_cluster.kubeconfig_path.absolute(), tmp_path_factory.mktemp("helm"), kubectl)


@pytest.fixture(scope="session")
def installation(
    kind_cluster: KindCluster, kubectl: Kubectl, release: Release, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The product as `helm install` installs it, with a database user for each program, at work."""
    kind_cluster.load_docker_image(IMAGE)
    host = kind_binary.host_address(kind_cluster.name)
    with ChartInstallation(kubectl, host, tmp_path_factory.mktemp("installation"), release) as found:
        try:
            found.install()
        except CommandFailedError as error:
            pytest.fail(f"{error}\n{found.look_around()}", pytrace=False)
        kubectl("create", "namespace", NAMESPACE)
        yield found


@pytest.fixture(scope="session")
def pods(installation: Installation, kubectl: Kubectl, release: Release, in_node: Callable[..., str]) -> Iterator[Pods]:
    """The cluster, the database and the cache, with what the tests do to them."""
    with (
        psycopg.connect(installation.database_url, autocommit=True, row_factory=dict_row) as connection,
        redis_client.Redis.from_url(installation.redis_url) as cache,
    ):
        yield Pods(kubectl, Database(connection), cache, installation.postgres, release, in_node)
