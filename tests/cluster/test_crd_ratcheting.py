"""A kind's schema becomes narrower, as a later version may make it: what is stored stays usable.

On copies of our kinds in a group of their own, so that the schema of no other test changes.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from dev.localkind.control_plane import ControlPlane
from tests.cluster import plan_corpus
from tests.cluster.api import Answer, Object, eventually, flagplan, flagschedule
from tests.cluster.conftest import in_namespace
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

CRDS = Path(__file__).resolve().parents[2] / "crds"
GROUP = "tightened.example.com"
SENTENCE = "at most 3 in this version"


def _narrower_retries(fields: dict[str, Any]) -> None:
    retries = fields["maxRetries"]
    retries["maximum"] = 3
    retries.setdefault("x-kubernetes-validations", []).append({"rule": "self <= 3", "message": SENTENCE})


def _shorter_keys(fields: dict[str, Any]) -> None:
    changes = fields["steps"]["items"]["properties"]["changes"]["items"]
    changes["properties"]["flagKey"]["maxLength"] = 8


@dataclass(frozen=True)
class Case:
    """A field that becomes narrower, and specs that break the new rule."""

    plural: str
    tighten: Callable[[dict[str, Any]], None]
    stored: Object
    other: Object


CASES = [
    Case(
        "flagschedules",
        _narrower_retries,
        flagschedule("x", spec(maxRetries=8)),
        flagschedule("x", spec(maxRetries=9)),
    ),
    Case(
        "flagplans",
        _shorter_keys,
        flagplan("x", plan_corpus.chain(plan_corpus.step(changes=[plan_corpus.change(flagKey="longer-than-8")]))),
        flagplan("x", plan_corpus.chain(plan_corpus.step(changes=[plan_corpus.change(flagKey="much-longer-than-8")]))),
    ),
]


class Kind:
    """A copy of one of our kinds."""

    def __init__(self, control_plane: ControlPlane, case: Case) -> None:
        self._control_plane = control_plane
        self._plural = case.plural
        self._crd: Object = yaml.safe_load((CRDS / f"{case.plural}.yaml").read_text())
        self._crd["metadata"] = {"name": f"{case.plural}.{GROUP}"}
        self._crd["spec"]["group"] = GROUP
        self._crd["spec"]["names"].pop("shortNames")
        self._crd["spec"]["names"].pop("categories")
        self.apply()
        control_plane.kubectl("wait", "--for=condition=Established", f"crd/{case.plural}.{GROUP}", "--timeout=60s")
        self._admin = in_namespace(control_plane, f"test-{uuid4().hex[:8]}")

    def apply(self, tighten: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Apply the kind, as an upgrade does."""
        crd = deepcopy(self._crd)
        if tighten:
            tighten(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
        self._control_plane.kubectl("apply", "--server-side", "--filename=-", input=json.dumps(crd))

    def request(self, method: str, name: str, body: Any, query: str = "") -> Answer:
        """Send a request for an object; PATCH merges, or applies where the query names a manager."""
        path = f"/apis/{GROUP}/v1alpha1/namespaces/{self._admin.namespace}/{self._plural}/{name}".rstrip("/")
        kind = {"PATCH": "application/apply-patch+yaml" if query else "application/merge-patch+json"}
        own = {**body, "apiVersion": f"{GROUP}/v1alpha1"} if "kind" in body else body
        return self._admin.request(method, path + query, own, kind.get(method, "application/json"))

    def delete(self) -> None:
        """Delete it."""
        self._control_plane.kubectl("delete", "crd", f"{self._plural}.{GROUP}", "--wait=false")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.plural)
def test_what_is_stored_stays_usable(control_plane: ControlPlane, case: Case) -> None:
    """An object that breaks a new rule can be reported on, released, edited elsewhere, synced and deleted."""
    kind = Kind(control_plane, case)
    try:
        assert kind.request("POST", "", case.stored).ok
        kind.apply(case.tighten)
        new = {**case.other, "metadata": {"name": "new"}}
        eventually(lambda: not kind.request("POST", "", new, "?dryRun=All").ok, "the new rule is in effect")

        assert kind.request("PATCH", "x", {"metadata": {"finalizers": ["flagschedule.io/test"]}}).ok
        assert kind.request("PATCH", "x/status", {"status": {"phase": "Pending"}}).ok
        assert kind.request("PATCH", "x", {"spec": {"suspend": True}}).ok
        assert kind.request("PATCH", "x", case.stored, "?fieldManager=argocd&force=true").ok
        refused = kind.request("PATCH", "x", {"spec": case.other["spec"]})
        assert refused.code == 422, refused.body
        assert kind.request("PATCH", "x", {"metadata": {"finalizers": None}}).ok
        assert kind.request("DELETE", "x", {}).ok
    finally:
        kind.delete()


def test_a_rule_of_the_whole_spec_is_judged_again_with_each_edit(control_plane: ControlPlane) -> None:
    """Why the API policy puts a new rule at the field: at the spec it would refuse every other edit, too."""

    def at_the_spec(fields: dict[str, Any]) -> None:
        fields["retry"]["x-kubernetes-validations"] = [{"rule": "self.maxSeconds <= 600", "message": SENTENCE}]

    case = CASES[0]
    kind = Kind(control_plane, case)
    try:
        stored = flagschedule("x", spec(retry={"initialSeconds": 60, "maxSeconds": 900}))
        assert kind.request("POST", "", stored).ok
        kind.apply(at_the_spec)
        new = {**stored, "metadata": {"name": "new"}}
        eventually(lambda: not kind.request("POST", "", new, "?dryRun=All").ok, "the new rule is in effect")

        assert kind.request("PATCH", "x", {"spec": {"suspend": True}}).ok  # outside of what the rule judges
        refused = kind.request("PATCH", "x", {"spec": {"retry": {"initialSeconds": 61}}})  # inside, another field
        assert SENTENCE in refused.message
    finally:
        kind.delete()
