"""What acts on objects. Every request carries the field manager `flagschedule`, and the cluster records who made it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from flagschedule.domain.times import rfc3339
from flagschedule.plugin import gitops, text
from flagschedule.plugin.errors import PluginError
from flagschedule.plugin.kubectl import FIELD_MANAGER, Kubectl
from flagschedule.plugin.objects import GROUP, HANDLED, Obj

RETRY: Final = f"{GROUP}/retry-requested-at"
APPROVED: Final = f"{GROUP}/approved"
_MANAGER: Final = FIELD_MANAGER.partition("=")[2]
HELD: Final = f"{GROUP}/held"
"""The label of what `suspend --flag` has suspended, so that `resume --flag` lets nothing else go."""


@dataclass(frozen=True)
class Act:
    """One patch of one object, and what is said of it."""

    obj: Obj
    patch: Mapping[str, Any]
    path: tuple[str, ...]
    done: str


def retry(obj: Obj, now: datetime) -> Act:
    """Request a retry."""
    path = ("metadata", "annotations", RETRY)
    return Act(obj, {"metadata": {"annotations": {RETRY: rfc3339(now)}}}, path, "retry requested")


def suspend(obj: Obj, *, by_flag: bool = False) -> Act:
    """Hold an object."""
    _refuse_handled(obj, "suspended")
    # What a person suspends by its name stays so when the incident is over.
    value = "by-flag" if by_flag else None
    labels = {"metadata": {"labels": {HELD: value}}} if by_flag or HELD in obj.labels else {}
    return Act(obj, {**labels, "spec": {"suspend": True}}, ("spec", "suspend"), "suspended")


def resume(obj: Obj) -> Act:
    """Let an object go on."""
    labels = {"metadata": {"labels": {HELD: None}}} if HELD in obj.labels else {}
    # Git's own false stays a value; else the field is taken away, so that no manager owns it.
    value = False if gitops.names(obj, ("spec", "suspend")) else None
    return Act(obj, {**labels, "spec": {"suspend": value}}, ("spec", "suspend"), "resumed")


def cancel(obj: Obj) -> Act:
    """Give an object up."""
    _refuse_handled(obj, "cancelled")
    return Act(obj, {"spec": {"cancel": True}}, ("spec", "cancel"), "cancelled, for good")


def promote(obj: Obj, step: str | None) -> Act:
    """Approve the step of a plan that waits, or the one that is named.

    Raises:
        PluginError: no step waits, or the plan has no such step.
    """
    waiting = obj.waiting_for.get("approval")
    chosen = step or waiting
    if chosen is None:
        raise PluginError(f"{obj.shown}: no step waits for approval now; name the step to approve it beforehand")
    if chosen not in {each.get("name") for each in obj.steps if each.get("approval")}:
        raise PluginError(f"{obj.shown} has no step {text.clean(chosen)} that needs approval")
    path = ("metadata", "annotations", APPROVED)
    return Act(obj, {"metadata": {"annotations": {APPROVED: chosen}}}, path, f"step {text.clean(chosen)} approved")


def _refuse_handled(obj: Obj, what: str) -> None:
    if obj.phase in HANDLED or (obj.phase == "Finished" and obj.is_over):
        raise PluginError(f"{obj.shown} is {obj.phase}, so it cannot be {what}: nothing of it is to come")


def perform(kubectl: Kubectl, act: Act) -> list[str]:
    """Send the patch. Returns: what to say, a warning where Git will undo it among it."""
    patch = json.dumps(act.patch)
    words = (act.obj.resource.replace("/", f".{GROUP}/", 1), *act.obj.options, "--type=merge", FIELD_MANAGER)
    kubectl.run("patch", *words, f"--patch={patch}")
    warning = undone(act.obj, act.path)
    return [f"{act.obj.shown} {act.done}", *([warning] if warning else [])]


def undone(obj: Obj, path: Sequence[str]) -> str | None:
    """Return a warning where the object's file in Git names a field, so that this is undone at the next sync."""
    if not gitops.names(obj, path):
        return None
    flags = " ".join(f"--flag {flag.key}" for flag in obj.flags[:3])
    return (
        f"warning: the file in Git names {'.'.join(path)} of {obj.shown}, so {gitops.owner(obj) or 'its tool'} will "
        f"undo this; change the file, or hold the flag with: kubectl flagschedule freeze NAME --reason TEXT {flags}"
    )


def to_suspend(objects: Iterable[Obj], key: str) -> list[Obj]:
    """Return what can be suspended of a flag: what is to come, and no person has suspended before."""
    return [
        obj
        for obj in objects
        if any(flag.key == key for flag in obj.flags) and not obj.spec.get("suspend") and not obj.is_over
    ]


def to_resume(objects: Iterable[Obj], key: str) -> list[Obj]:
    """Return what `suspend --flag` has suspended of a flag."""
    return [obj for obj in objects if _is_held_by_flag(obj) and any(flag.key == key for flag in obj.flags)]


def _is_held_by_flag(obj: Obj) -> bool:
    """Whether the label is true: it may be left from before, while another manager has suspended the object since."""
    return HELD in obj.labels and bool(obj.spec.get("suspend")) and gitops.owns(obj, ("spec", "suspend"), _MANAGER)


@dataclass(frozen=True, kw_only=True)
class Freezing:
    """What a new freeze holds, and for how long; empty is all, None is until it is deleted."""

    name: str
    reason: str
    flags: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    length: timedelta | None = None
    allow_switch_off: bool = False

    def as_object(self, now: datetime) -> dict[str, Any]:
        """Return the FlagFreeze."""
        spec: dict[str, Any] = {"reason": self.reason}
        scope = (("flagKeys", self.flags), ("environments", self.environments), ("namespaces", self.namespaces))
        spec |= {field: list(values) for field, values in scope if values}
        if self.length is not None:
            spec["windows"] = [{"from": rfc3339(now), "until": rfc3339(now + self.length)}]
        if self.allow_switch_off:
            spec["allowSwitchOff"] = True
        return {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": "FlagFreeze",
            "metadata": {"name": self.name},
            "spec": spec,
        }


def freeze(kubectl: Kubectl, wanted: Freezing, now: datetime) -> list[str]:
    """Create a freeze. Returns: what to say."""
    kubectl.run("create", "--filename=-", FIELD_MANAGER, stdin=json.dumps(wanted.as_object(now)))
    return [
        f"ffreeze {wanted.name} created; it holds when this ends:",
        f"  kubectl wait flagfreeze/{wanted.name} --for=condition=Active --timeout=2m",
    ]


def held_by(freeze: Obj, objects: Iterable[Obj]) -> list[Obj]:
    """Return the schedules that a freeze holds now, by their statuses, in the order in which they will be made."""
    named = f'FlagFreeze "{freeze.name}"'  # the words of the operator's message
    held = [obj for obj in objects if obj.phase == "Frozen" and named in str(obj.status.get("message"))]
    return sorted(held, key=lambda obj: str(obj.status.get("scheduledAt")))
