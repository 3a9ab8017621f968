"""Objects with the status that the operator writes, one for every outcome of the status function's own table."""

from typing import Any, Final

import pytest

from flagschedule.domain.outcome import Row
from tests.unit.builders import body
from tests.unit.test_status import ROWS, record, status

CASES: Final = [
    pytest.param(found, known, phase, id=f"{phase}-{number}") for number, (found, known, phase, _) in enumerate(ROWS)
]


def reported(found: Row | None, known: dict[str, Any], phase: str) -> dict[str, Any]:
    """Return an object with the status that the operator writes for this outcome."""
    fields: dict[str, dict[str, Any]] = {"Suspended": {"suspend": True}, "Cancelled": {"cancel": True}}
    spec = fields.get(phase, {})
    return body(status=status(found, record(**known), **spec), **spec)
