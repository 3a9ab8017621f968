"""Fixtures of the tests in pods: pytest-kind's cluster, and the product installed in it once.

The cluster is kind's where Docker runs and our own elsewhere. It is always one that this run made.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psycopg
import pytest
import redis as redis_client
from psycopg.rows import dict_row
from pytest_kind import KindCluster

from dev.cluster import kind_binary
from dev.demo.commands import CommandFailedError, Kubectl, kubectl_program, run
from dev.demo.installation import IMAGE, Installation
from tests import roles
from tests.e2e.pods import NAMESPACE, Pods
from tests.integration.database import Database

OVERLAY = Path(__file__).parent / "overlay"
_PREFIX = "flagschedule-e2e-"
_KEYS: dict[str, roles.Program] = {
    "database-url-migrator": "migrate",
    "database-url-operator": "operator",
    "database-url-processor": "process",
    "database-url-cleaner": "cleanup",
}


@pytest.fixture(scope="session", autouse=True)
def _own_cluster(pytestconfig: pytest.Config) -> Iterator[None]:
    """Tell pytest-kind which programs to use, and to make a cluster for this run alone."""
    if pytestconfig.getoption("kubeconfig"):
        pytest.exit("These tests never use a cluster that exists already: run them without --kubeconfig.", 2)
    kind = kind_binary.kind_command()[0]
    for name in run([kind, "get", "clusters"]).split():
        if name.startswith(_PREFIX) and not Path("/proc", name.removeprefix(_PREFIX)).exists():
            run([kind, "delete", "cluster", f"--name={name}"])  # of a run that was killed
    name = f"{_PREFIX}{os.getpid()}"
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


class RoleInstallation(Installation):
    """The product with a database user for each program."""

    def __enter__(self) -> Self:
        super().__enter__()
        roles.create(self.postgres)
        with psycopg.connect(self.database_url, autocommit=True) as session:
            session.execute(roles.SCHEMA.encode())
        return self

    def addresses(self) -> dict[str, str]:
        """See Installation: one key for each program."""
        users = {key: roles.url(self.database_url, program) for key, program in _KEYS.items()}
        return {**users, "redis-url": self.redis_url}


@pytest.fixture(scope="session")
def installation(
    kind_cluster: KindCluster, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The product as `kubectl apply -k` installs it, with a database user for each program, at work."""
    kind_cluster.load_docker_image(IMAGE)
    host = kind_binary.host_address(kind_cluster.name)
    with RoleInstallation(kubectl, host, tmp_path_factory.mktemp("installation"), OVERLAY) as found:
        try:
            found.install()
        except CommandFailedError as error:
            pytest.fail(f"{error}\n{found.look_around()}", pytrace=False)
        kubectl("create", "namespace", NAMESPACE)
        yield found


@pytest.fixture(scope="session")
def pods(installation: Installation, kubectl: Kubectl) -> Iterator[Pods]:
    """The cluster, the database and the cache, with what the tests do to them."""
    with (
        psycopg.connect(installation.database_url, autocommit=True, row_factory=dict_row) as connection,
        redis_client.Redis.from_url(installation.redis_url) as cache,
    ):
        yield Pods(kubectl, Database(connection), cache, installation.postgres)
