"""What users may change of each alert. Called by schema.py, and by files.py, which copies the rules into the chart."""

import re
from pathlib import Path
from typing import Any, Final

import yaml

FILE: Final = Path(__file__).parents[2] / "manifests" / "components" / "monitoring" / "rules.yaml"
# The chart replaces this number; an alert whose expression ends in another way has no threshold.
_THRESHOLD: Final = re.compile(r" [<>] [0-9]+$")


def schema() -> dict[str, Any]:
    """Return the schema of the map of all alerts: a misspelt name would change nothing, so it is refused."""
    groups = yaml.safe_load(FILE.read_text())["spec"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    properties = {rule["alert"]: _of(rule) for rule in rules}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _of(rule: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "enabled": {"type": "boolean"},
        "for": {"type": "string", "pattern": "^([0-9]+[smhdw])+$"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "severity": {"type": "string", "minLength": 1},
    }
    if _THRESHOLD.search(rule["expr"]):
        properties["threshold"] = {"type": "number"}
    return {"type": "object", "additionalProperties": False, "properties": properties}
