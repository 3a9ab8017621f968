"""The dashboard is one that Grafana understands. That its queries find something is tested with a running operator."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

DASHBOARD: Final = Path(__file__).parents[2] / "manifests" / "components" / "monitoring" / "dashboard.json"


def test_grafana_knows_every_field_of_it() -> None:
    """The dashboard stays the same when Grafana's generated model reads and writes it."""
    ours: dict[str, Any] = json.loads(DASHBOARD.read_text())

    assert list(_lost(ours, _read_and_written(ours))) == []


def test_an_unknown_field_is_found() -> None:
    """The test above finds a misspelt field, option or panel type."""
    ours: dict[str, Any] = json.loads(DASHBOARD.read_text())
    ours["tmezone"] = "utc"
    ours["panels"][0]["fieldConfig"]["defaults"]["units"] = "s"
    ours["panels"][0]["options"]["legnd"] = {}

    assert sorted(_lost(ours, _read_and_written(ours))) == [
        ".panels[0].fieldConfig.defaults.units",
        ".panels[0].options.legnd",
        ".tmezone",
    ]


def _read_and_written(dashboard: dict[str, Any]) -> Any:
    register_default_plugins()  # the models of panels and of data sources' queries
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def _lost(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Yield where `theirs` lacks something of `ours`; what it adds are defaults."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from _lost(value, theirs.get(key), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _lost(one, other, f"{path}[{number}]")
    elif ours != theirs:
        yield path
