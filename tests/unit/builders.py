"""Makes objects, records and rows for tests; what a test does not name is plausible and constant."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flagschedule.domain.outcome import Row, State
from flagschedule.domain.schedule import FlagSchedule

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
FLAG_ID = UUID("00000000-0000-4000-8000-0000000000f1")
ROW_ID = UUID("00000000-0000-7000-8000-000000000001")
UID = "00000000-0000-4000-8000-000000000001"


def rfc3339(instant: datetime) -> str:
    """Return the time as people write it in YAML."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def body(
    *,
    at: datetime = NOW + HOUR,
    created_at: datetime = NOW - HOUR,
    generation: int = 1,
    status: dict[str, Any] | None = None,
    annotations: dict[str, str] | None = None,
    deleting: bool = False,
    **spec: Any,
) -> dict[str, Any]:
    """Return a raw object as the API server returns it; `spec` overrides fields, None removes one."""
    fields = {"flagKey": "checkout-v2", "scheduledAt": rfc3339(at), "updates": {"enabled": True}, **spec}
    metadata: dict[str, Any] = {
        "uid": UID,
        "namespace": "shop",
        "name": "launch",
        "generation": generation,
        "resourceVersion": "1",
        "creationTimestamp": rfc3339(created_at),
        "annotations": annotations or {},
    }
    if deleting:
        metadata["deletionTimestamp"] = rfc3339(NOW)
    return {
        "metadata": metadata,
        "spec": {key: value for key, value in fields.items() if value is not None},
        "status": {"observedGeneration": -1} if status is None else status,
    }


def obj(**fields: Any) -> FlagSchedule:
    """Return a parsed object; takes what `body` takes."""
    return FlagSchedule.from_body(body(**fields))


def row(**fields: Any) -> Row:
    """Return a pending row one hour ahead."""
    values: dict[str, Any] = {
        "id": ROW_ID,
        "scheduled_at": NOW + HOUR,
        "state": State.PENDING,
        "updates": {"enabled": True},
        "max_retries": 3,
        **fields,
    }
    return Row(**values)
