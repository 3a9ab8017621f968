"""Objects with the status that the operator writes: for every outcome of the status function's own table, and held."""

from typing import Any, Final

import pytest

from flagschedule.domain.outcome import Row
from tests.unit.builders import body, row
from tests.unit.test_status import ROWS, frozen, record, status

TABLE: Final = [*((found, known, phase) for found, known, phase, _ in ROWS), (row(), {}, "Frozen")]
CASES: Final = [pytest.param(*case, id=f"{case[2]}-{number}") for number, case in enumerate(TABLE)]


def reported(found: Row | None, known: dict[str, Any], phase: str) -> dict[str, Any]:
    """Return an object with the status that the operator writes for this outcome."""
    fields: dict[str, dict[str, Any]] = {"Suspended": {"suspend": True}, "Cancelled": {"cancel": True}}
    spec = fields.get(phase, {})
    if found and phase == "Frozen":
        return body(status=frozen(found))
    return body(status=status(found, record(**known), **spec), **spec)
