"""The oracle of the races: what the world may look like after an edit met the processor, written down by hand.

A trial is one object whose change falls due while its spec, its annotation or its life is being changed. There are
two worlds: the processor was first, or the edit was. In each, every trace of the object is known; a mixture is a
bug. Knows nothing of the product's rules. Used by the tests of the store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from tests.integration.database import Database

OLD: Final = {"rolloutPercentage": 11}
NEW: Final = {"rolloutPercentage": 22}
Kind = Literal["pending", "retrying"]
Action = Literal["reschedule", "change", "suspend", "cancel", "break", "delete", "retry"]
KINDS: Final[tuple[Kind, ...]] = ("pending", "retrying")
ACTIONS: Final[tuple[Action, ...]] = ("reschedule", "change", "suspend", "cancel", "break", "delete", "retry")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One object: what is done to it, and its life in the database; `later` is where a reschedule moves it."""

    action: Action
    kind: Kind
    uid: UUID
    at: datetime
    later: datetime

    @property
    def edits_spec(self) -> bool:
        """Whether the action raises the generation of an object that lives on."""
        return self.action not in {"retry", "delete"}


@dataclass(frozen=True, kw_only=True)
class Traces:
    """Everything that can be seen of one object, in plain values."""

    row: Mapping[str, Any]
    attempts: list[tuple[int, int, str]]
    flag: tuple[bool, int]
    record: Mapping[str, Any]
    status: Mapping[str, Any] | None = field(default=None)


def traces(database: Database, statuses: Mapping[UUID, Mapping[str, Any]]) -> dict[UUID, Traces]:
    """Return the traces of every object in the database; the caller gives the statuses."""
    attempts: dict[UUID, list[tuple[int, int, str]]] = {}
    for found in database.query("SELECT * FROM flag_schedule_attempts ORDER BY arming, attempt"):
        attempts.setdefault(found["schedule_id"], []).append((found["arming"], found["attempt"], found["outcome"]))
    return {
        found["uid"]: Traces(
            row={
                "status": (found["status"], found["reason"]),
                "plan": (found["scheduled_at"], found["updates"], found["suspended"]),
                "arming": found["arming"],
                "retries": (found["retry_count"], found["next_retry_at"] is not None),
                "applied": found["applied_at"] is not None,
            },
            attempts=attempts.get(found["schedule_id"], []),
            flag=(found["enabled"], found["rollout_percentage"]),
            record={name: found[name] for name in ("generation", "retry_request", "deleted")},
            status=_digest(statuses.get(found["uid"]), found["applied_at"]),
        )
        for found in database.query(
            "SELECT o.uid, o.generation, o.retry_request, o.deleted_at IS NOT NULL AS deleted, o.schedule_id, "
            "s.status, s.reason, s.scheduled_at, s.updates, s.suspended, s.arming, s.retry_count, s.next_retry_at, "
            "s.applied_at, f.enabled, f.rollout_percentage "
            "FROM flag_schedule_objects AS o JOIN feature_flag_schedules AS s ON s.id = o.schedule_id "
            "JOIN feature_flags AS f ON f.id = s.flag_id"
        )
    }


def _digest(status: Mapping[str, Any] | None, applied_at: datetime | None) -> Mapping[str, Any] | None:
    if status is None:
        return None
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    shown = status.get("appliedAt")
    return {
        "phase": status["phase"],
        "observed": {status["observedGeneration"], *(each["observedGeneration"] for each in conditions.values())},
        "change": status.get("change"),
        "ready": (conditions["Ready"]["status"], conditions["Ready"]["reason"]),
        "applied": conditions["Applied"]["status"],
        "true time": shown == (applied_at.strftime("%Y-%m-%dT%H:%M:%SZ") if applied_at else None),
        "request": status.get("lastHandledRetryRequest"),
    }


def processor_first(trial: Trial) -> Traces:
    """Return the traces when the change was made as planned: later edits did nothing, and the status says so."""
    failed_before = trial.kind == "retrying"
    late = trial.edits_spec
    request = "now" if trial.action == "retry" else None
    status = {
        "phase": "Applied",
        "observed": {2 if late else 1},
        "change": "rolloutPercentage=11",
        "ready": ("True", "EditTooLate" if late else "Applied"),
        "applied": "True",
        "true time": True,
        "request": request,
    }
    return Traces(
        row={
            "status": ("applied", "Applied"),
            "plan": (trial.at, OLD, False),
            "arming": 0,
            "retries": (int(failed_before), False),
            "applied": True,
        },
        attempts=[(0, 1, "failed"), (0, 2, "applied")] if failed_before else [(0, 1, "applied")],
        flag=(False, 11),
        record=_record(trial, generation=1, request=request),
        status=None if trial.action == "delete" else status,
    )


def edit_first(trial: Trial) -> Traces:
    """Return the traces when the requested action was done and the old plan was never applied."""
    failed_before = trial.kind == "retrying"
    planned_again = trial.action in {"reschedule", "change", "retry"}
    arming = int(failed_before and planned_again)
    applied = trial.action in {"change", "retry"}
    state, phase, ready = {
        "reschedule": (("pending", None), "Pending", "Mirrored"),
        "change": (("applied", "Applied"), "Applied", "Applied"),
        "retry": (("applied", "Applied"), "Applied", "Applied"),
        "suspend": (("failed", "AttemptFailed") if failed_before else ("pending", None), "Suspended", "Suspended"),
        "cancel": (("cancelled", "Cancelled"), "Cancelled", "Cancelled"),
        "break": (("cancelled", "InvalidSpec"), "Invalid", "InvalidSpec"),
        "delete": (("cancelled", "Deleted"), None, None),
    }[trial.action]
    at, updates = (
        (trial.later if trial.action == "reschedule" else trial.at),
        (NEW if trial.action == "change" else OLD),
    )
    request = "now" if trial.action == "retry" else None
    status = {
        "phase": phase,
        "observed": {2 if trial.edits_spec else 1},
        # A plan that a broken edit cancelled has no change to show.
        "change": None if trial.action == "break" else f"rolloutPercentage={updates['rolloutPercentage']}",
        "ready": ("False" if trial.action == "break" else "True", ready),
        "applied": "True" if applied else "False" if trial.action in {"cancel", "break"} else "Unknown",
        "true time": True,
        "request": request,
    }
    return Traces(
        row={
            "status": state,
            "plan": (at, updates, trial.action == "suspend"),
            "arming": arming,
            "retries": (int(failed_before and not planned_again), failed_before and trial.action == "suspend"),
            "applied": applied,
        },
        attempts=[(0, 1, "failed")] * failed_before + [(arming, 1, "applied")] * applied,
        flag=(False, updates["rolloutPercentage"] if applied else 0),
        record=_record(trial, generation=2 if trial.edits_spec else 1, request=request),
        status=None if trial.action == "delete" else status,
    )


def _record(trial: Trial, *, generation: int, request: str | None) -> Mapping[str, Any]:
    deleted = trial.action == "delete"
    # A deletion is the object's last generation: no older view of it comes after that.
    return {"generation": 2 if deleted else generation, "retry_request": request, "deleted": deleted}


def judge(trial: Trial, seen: Traces) -> str:
    """Return which side was first; fail if the traces fit neither."""
    worlds = {"processor": processor_first(trial), "edit": edit_first(trial)}
    found = [name for name, world in worlds.items() if world == seen]
    assert len(found) == 1, f"{trial}\nseen      {seen}\nprocessor {worlds['processor']}\nedit      {worlds['edit']}"
    return found[0]
