"""The YAML that the pages show is accepted by a real API server."""

import re
from pathlib import Path

import pytest
import yaml

from tests.cluster.api import Api

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
THINGS = [
    pytest.param(thing, id=f"{page.name}-{thing['metadata']['name']}")
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    for thing in yaml.safe_load_all(block)
    if thing.get("kind") == "FlagSchedule"
]


@pytest.mark.parametrize("thing", THINGS)
def test_the_examples_are_accepted(api: Api, thing: dict[str, object]) -> None:
    """Every FlagSchedule on a page could be applied as it stands, but for a time that may have passed since."""
    spec = thing["spec"]
    assert isinstance(spec, dict)
    assert spec["scheduledAt"][:4].isdecimal()
    later = {
        **thing,
        "metadata": {"name": "example"},
        "spec": {**spec, "scheduledAt": "2035" + spec["scheduledAt"][4:]},
    }

    answer = api.create(later, dry_run=True)

    assert answer.ok, answer.message
