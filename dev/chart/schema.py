"""Makes values.schema.json: Helm checks users' values with it, and refuses what is not in values.yaml.

Called by `python -m dev.chart`. Draft 7, which Helm and editors know.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from dev.chart import alerts, kubernetes
from dev.chart.values import Value, ValuesError

Schema = dict[str, Any]

_TYPES: Final = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
_SAME_AS: Final = "$values"
# A rule of Prometheus' for labels, whose kinds no API server of ours describes.
_RELABELING: Final[Schema] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "action": {"type": "string"},
        "modulus": {"type": "integer", "minimum": 1},
        "regex": {"type": "string"},
        "replacement": {"type": "string"},
        "separator": {"type": "string"},
        "sourceLabels": {"type": "array", "items": {"type": "string"}},
        "targetLabel": {"type": "string"},
    },
}


def schema(values: Sequence[Value]) -> Schema:
    """Return the schema of all values.

    Raises:
        ValuesError: a value's type cannot be known.
    """
    properties = {value.path[-1]: _of(value) for value in values}
    shapes = {**kubernetes.definitions(), "RelabelConfig": _RELABELING, "Alerts": alerts.schema()}
    used: dict[str, Schema] = {}
    waiting = [*_references(properties)]
    while waiting:
        name = waiting.pop()
        if name in used:
            continue
        if name not in shapes:
            raise ValuesError(f"$ref: {name} is neither in dev/chart/kubernetes.json nor a shape of our own")
        used[name] = shapes[name]
        waiting += _references(shapes[name])
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart flagschedule",
        "type": "object",
        "additionalProperties": False,
        "required": _sections(values),
        "properties": properties,
        "definitions": dict(sorted(used.items())),
    }


def _of(value: Value) -> Schema:
    described = {"description": value.description} if value.description else {}
    if value.children:
        inner = {child.path[-1]: _of(child) for child in value.children}
        kept = {"required": sections} if (sections := _sections(value.children)) else {}
        return {**described, "type": "object", "additionalProperties": value.is_open, **kept, "properties": inner}
    stated = _resolved(value.stated)
    if _SAME_AS in stated:
        place = "/properties/".join(stated[_SAME_AS].split("."))
        return {**described, "allOf": [{"$ref": f"#/properties/{place}"}]}
    if "$ref" in stated:  # a draft 7 validator ignores what stands next to a reference
        return {**described, "default": value.default, "allOf": [stated]}
    kind: Schema = {} if {"type", "enum"} & stated.keys() else {"type": _type(value)}
    if kind == {"type": "object"}:
        kind["additionalProperties"] = False
    found = {**described, **kind, **stated, "default": value.default}
    if (found.get("type") == "array" and "items" not in found) or found.get("additionalProperties") is False:
        raise ValuesError(f"{value.dotted}: say with `# @schema` what its {found['type']} holds")
    return found


def _sections(values: Sequence[Value]) -> list[str]:
    """Return the names of the sections: with null Helm removes one, and the templates would fail on what is in it."""
    return [value.path[-1] for value in values if value.children or _SAME_AS in value.stated]


def _type(value: Value) -> str:
    if type(value.default) not in _TYPES:
        raise ValuesError(f"{value.dotted}: say with `# @schema` which type it has")
    return _TYPES[type(value.default)]


def _resolved(stated: Any) -> Any:
    """Short names of Kubernetes' shapes become references into the schema."""
    if isinstance(stated, dict):
        return {key: f"#/definitions/{entry}" if key == "$ref" else _resolved(entry) for key, entry in stated.items()}
    return [_resolved(entry) for entry in stated] if isinstance(stated, list) else stated


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/definitions/"):
            yield reference.removeprefix("#/definitions/")
        for entry in part.values():
            yield from _references(entry)
    elif isinstance(part, list):
        for entry in part:
            yield from _references(entry)
