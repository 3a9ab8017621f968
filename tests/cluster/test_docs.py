"""The YAML that the pages show is accepted by a real API server."""

import re
from pathlib import Path

import pytest
import yaml

from tests.cluster.api import Api, Object

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
