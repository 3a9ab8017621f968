"""The YAML that the pages show is accepted by a real API server."""

import re
from pathlib import Path

import pytest
import yaml

from dev.localkind.control_plane import ControlPlane
from tests.cluster.api import Api, Object, eventually, flagschedule
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OBJECTS = [
    pytest.param(obj, id=f"{page.name}-{obj['metadata']['name']}")
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    for obj in yaml.safe_load_all(block)
    if obj.get("kind") in {"FlagSchedule", "FlagPlan", "FlagFreeze"}
]


@pytest.mark.parametrize("obj", OBJECTS)
def test_the_examples_are_accepted(api: Api, obj: Object) -> None:
    """Every object of ours on a page could be applied as it stands, but for a time that may have passed since."""
    spec = obj["spec"]
    if obj["kind"] == "FlagSchedule":
        assert spec["scheduledAt"][:4].isdecimal()
        spec = {**spec, "scheduledAt": "2035" + spec["scheduledAt"][4:]}

    answer = api.of(f"{obj['kind']}s".lower()).create(
        {**obj, "metadata": {"name": "example"}, "spec": spec}, dry_run=True
    )

    assert answer.ok, answer.message


def test_the_example_policy_keeps_flags_apart(api: Api, installed: ControlPlane) -> None:
    """The policy on the page about threats lets a namespace schedule flags that bear its name, and no others."""
    page = (ROOT / "docs" / "explanation" / "threat-model.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    policy, binding = yaml.safe_load_all(block)
    # For this test's namespace alone: others share the API server.
    policy["spec"]["matchConstraints"]["namespaceSelector"] = {
        "matchLabels": {"kubernetes.io/metadata.name": api.namespace}
    }
    text = yaml.safe_dump_all([policy, binding])
    theirs, ours = (flagschedule("one", spec(flagKey=key)) for key in ("other.banner", f"{api.namespace}.banner"))

    installed.kubectl("apply", "--filename=-", input=text)
    try:
        sentence = f"flagKey must start with {api.namespace}."
        eventually(lambda: sentence in api.create(theirs, dry_run=True).message, "the policy is in effect")
        answer = api.create(ours)
        # A label of Argo CD's lets edits of flagKey in; this policy must not.
        taken = {"metadata": {"labels": {"argocd.argoproj.io/instance": "x"}}, "spec": {"flagKey": "other.banner"}}
        edited = api.patch("one", taken)
    finally:
        installed.kubectl("delete", "--filename=-", input=text)

    assert answer.ok, answer.message
    assert sentence in edited.message
