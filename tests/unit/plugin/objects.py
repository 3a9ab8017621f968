"""Objects as kubectl prints them, for the tests of what the plugin makes of them."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flagschedule.plugin.objects import Obj

NOW: Final = datetime(2027, 3, 22, 8, 0, tzinfo=UTC)  # a Monday


def schedule(name: str = "launch", *, phase: str | None = "Pending", status: Any = None, **spec: Any) -> Obj:
    """Return a FlagSchedule; without a status where the phase is None."""
    meta = spec.pop("metadata", {})
    whole = {"flagKey": "checkout", "scheduledAt": "2027-03-23T09:00:00Z", "updates": {"enabled": True}} | spec
    return _obj("FlagSchedule", name, whole, phase, status, meta)


def plan(name: str = "hours", *, phase: str | None = "Active", status: Any = None, **spec: Any) -> Obj:
    """Return a FlagPlan: by default one that recurs from nine to five in Oslo."""
    meta = spec.pop("metadata", {})
    whole = spec or {"timeZone": "Europe/Oslo", "steps": [window()]}
    return _obj("FlagPlan", name, whole, phase, status, meta)


def window(name: str = "hours", flag: str = "chat", **fields: Any) -> dict[str, Any]:
    """Return a step from nine to five on working days."""
    change = {"flagKey": flag, "updates": {"enabled": True}, "then": {"enabled": False}}
    return {"name": name, "cron": "0 9 * * 1-5", "until": "17:00", "changes": [change]} | fields


def step(name: str, share: int, flag: str = "search", **fields: Any) -> dict[str, Any]:
    """Return a step of a ramp."""
    return {"name": name, "changes": [{"flagKey": flag, "updates": {"rolloutPercentage": share}}]} | fields


def freeze(name: str = "holidays", *, phase: str | None = "Scheduled", status: Any = None, **spec: Any) -> Obj:
    """Return a FlagFreeze; without windows it is a stop button."""
    return _obj("FlagFreeze", name, {"reason": "holidays"} | spec, phase, status, {})


def _obj(kind: str, name: str, spec: Any, phase: str | None, status: Any, meta: Any) -> Obj:
    created = (NOW - timedelta(days=30)).isoformat().replace("+00:00", "Z")
    place = {} if kind == "FlagFreeze" else {"namespace": "shop"}
    metadata = {"name": name, "uid": f"uid-of-{name}", "generation": 1, "creationTimestamp": created, **place, **meta}
    whole: dict[str, Any] = {"kind": kind, "metadata": metadata, "spec": spec}
    if phase is not None:
        whole["status"] = {"observedGeneration": 1, "phase": phase, **(status or {})}
    return Obj(whole)
