"""Fixtures of the tests on a real API server."""

from pathlib import Path
from uuid import uuid4

import pytest

from dev.cluster.control_plane import ControlPlane
from tests.cluster.api import Api, eventually, flagschedule
from tests.cluster.operator_fixtures import loosened, new_operator, scene
from tests.cluster.spec_corpus import spec

__all__ = ["loosened", "new_operator", "scene"]  # fixtures that stand in another file

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "manifests" / "base"


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The same, with `manifests/base` applied and in effect."""
    install(control_plane)
    return control_plane


def install(control_plane: ControlPlane) -> None:
    """Apply `manifests/base`, and wait until it is in effect."""
    control_plane.kubectl("apply", "--server-side", "--kustomize", str(BASE))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/flagschedules.flagschedule.io", "--timeout=20s")
    api = _api(control_plane)
    past = flagschedule("past", spec(scheduledAt="2020-01-01T00:00:00Z"))
    eventually(lambda: "in the future" in api.create(past, dry_run=True).message, "the policy is in effect")


@pytest.fixture
def api(installed: ControlPlane) -> Api:
    """The API server as its administrator sees it, in a namespace of the test's own."""
    return in_namespace(installed, f"test-{uuid4().hex[:8]}")


def in_namespace(control_plane: ControlPlane, name: str) -> Api:
    """The API server as its administrator sees it, in a new namespace."""
    admin = _api(control_plane, namespace=name)
    created = admin.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert created.ok, created.message
    return admin


def _api(control_plane: ControlPlane, namespace: str = "default") -> Api:
    return Api(
        server=control_plane.server,
        ca_file=control_plane.ca_file,
        token=control_plane.token("admin"),
        namespace=namespace,
    )
