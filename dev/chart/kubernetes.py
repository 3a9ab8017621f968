"""The shapes of Kubernetes' own objects that the chart's values hold, from the API server's description of them.

Called by schema.py, which lets nothing else pass, and by a test that compares them with a real API server.
`kubernetes.json` is renewed for a new version of Kubernetes with `python -m dev.chart kubernetes`.
"""

import json
from pathlib import Path
from typing import Any, Final

Schema = dict[str, Any]

FILE: Final = Path(__file__).with_name("kubernetes.json")
_REFERENCE: Final = "#/definitions/"
_WANTED: Final = (
    "io.k8s.api.apps.v1.DeploymentStrategy",
    "io.k8s.api.core.v1.Affinity",
    "io.k8s.api.core.v1.Container",
    "io.k8s.api.core.v1.EnvVar",
    "io.k8s.api.core.v1.HostAlias",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.PodDNSConfig",
    "io.k8s.api.core.v1.ResourceRequirements",
    "io.k8s.api.core.v1.Toleration",
    "io.k8s.api.core.v1.TopologySpreadConstraint",
    "io.k8s.api.core.v1.Volume",
    "io.k8s.api.core.v1.VolumeMount",
    "io.k8s.api.networking.v1.NetworkPolicyEgressRule",
    "io.k8s.api.networking.v1.NetworkPolicyPeer",
)
# The volumes that Pod Security restricted lets in, but for `ephemeral`, which would bring a third more shapes.
_VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "name",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
# People write 1 for "1", and the API server takes both.
_SCALARS: Final[dict[str, Schema]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
}


def definitions() -> dict[str, Schema]:
    """Return the shapes, by their short names."""
    found: dict[str, Schema] = json.loads(FILE.read_text())
    return found


def text(shapes: dict[str, Schema]) -> str:
    """Return the text of the file: a line for each shape, so that a difference can be read."""
    lines = [f"{json.dumps(name)}: {json.dumps(shape)}" for name, shape in shapes.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def extract(swagger: dict[str, Any]) -> dict[str, Schema]:
    """Return the wanted shapes and those they consist of, without descriptions, and with no room for unknown fields."""
    given: dict[str, Schema] = swagger["definitions"]
    found: dict[str, Schema] = {}
    waiting = [*_WANTED]
    while waiting:
        name = waiting.pop()
        if _short(name) in found:
            continue
        shape = _SCALARS.get(name) or _strict(given[name])
        if name.endswith(".Volume"):
            shape["properties"] = {key: value for key, value in shape["properties"].items() if key in _VOLUMES}
        found[_short(name)] = _renamed(shape)
        waiting += _references(shape)
    return dict(sorted(found.items()))


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _strict(shape: Schema) -> Schema:
    """Return a shape with nothing but what validates; objects take their own properties only."""
    kept: Schema = {key: shape[key] for key in ("$ref", "type", "required", "enum") if key in shape}
    if "items" in shape:
        kept["items"] = _strict(shape["items"])
    if "properties" in shape:
        kept["properties"] = {name: _strict(value) for name, value in sorted(shape["properties"].items())}
        kept["additionalProperties"] = False
    elif "additionalProperties" in shape:
        kept["additionalProperties"] = _strict(shape["additionalProperties"])
    return kept


def _references(shape: Any) -> list[str]:
    if isinstance(shape, dict):
        own = [shape["$ref"].removeprefix(_REFERENCE)] if isinstance(shape.get("$ref"), str) else []
        return own + [name for value in shape.values() for name in _references(value)]
    return []


def _renamed(shape: Any) -> Any:
    if isinstance(shape, dict):
        if isinstance(shape.get("$ref"), str):
            return {"$ref": _REFERENCE + _short(shape["$ref"])}
        return {key: _renamed(value) for key, value in shape.items()}
    return shape
