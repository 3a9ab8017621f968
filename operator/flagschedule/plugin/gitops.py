"""Which GitOps tool manages an object, and whether its file names a field: what a person sets there is undone."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flagschedule.plugin.objects import Obj

_MANAGERS: Final = ("argocd-", "kustomize-controller", "helm-controller", "helm", "flux")
_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def owner(obj: Obj) -> str | None:
    """Return the tool that manages an object, by the same marks as the admission policies."""
    labels, annotations = obj.labels, obj.annotations
    if "argocd.argoproj.io/tracking-id" in annotations or "argocd.argoproj.io/instance" in labels:
        return "Argo CD"
    managers = [str(entry.get("manager", "")) for entry in _managed(obj)]
    if "app.kubernetes.io/instance" in labels and any(name.startswith("argocd-") for name in managers):
        return "Argo CD"
    if "kustomize.toolkit.fluxcd.io/name" in labels or "helm.toolkit.fluxcd.io/name" in labels:
        return "Flux"
    if labels.get("app.kubernetes.io/managed-by") == "Helm" and "meta.helm.sh/release-name" in annotations:
        return "Helm"
    return None


def names(obj: Obj, path: Sequence[str]) -> bool:
    """Whether the file in Git names a field, for example `("spec", "suspend")`."""
    if any(_has(entry, path) for entry in _managed(obj) if str(entry.get("manager", "")).startswith(_MANAGERS)):
        return True
    return owner(obj) is not None and _is_in_last_applied(obj, path)


def owns(obj: Obj, path: Sequence[str], manager: str) -> bool:
    """Whether a manager owns a field; true where no manager of it is known."""
    owners = [str(entry.get("manager")) for entry in _managed(obj) if _has(entry, path)]
    return manager in owners or not owners


def _has(entry: Mapping[str, Any], path: Sequence[str]) -> bool:
    place: Any = entry.get("fieldsV1")
    for part in path:
        place = place.get(f"f:{part}") if isinstance(place, Mapping) else None
    return place is not None


def _is_in_last_applied(obj: Obj, path: Sequence[str]) -> bool:
    """Whether what Argo CD applied names it; without server-side apply it leaves the file in this annotation."""
    try:
        place: Any = json.loads(obj.annotations.get(_APPLIED, "{}"))
    except ValueError:
        return False
    for part in path:
        place = place.get(part) if isinstance(place, Mapping) else None
    return place is not None


def _managed(obj: Obj) -> Sequence[Mapping[str, Any]]:
    return obj.metadata.get("managedFields") or ()
