"""What stands in a status that another client has written is read as far as it can be."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagschedule.domain.schedule import Phase, Status

texts = st.text(st.characters())  # with lone surrogates, too
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
SHAPE: dict[str, Any] = {
    "observedGeneration": 3,
    "phase": "Applied",
    "appliedAt": "2026-12-01T09:00:00Z",
    "conditions": [
        {
            "type": "Applied",
            "status": "True",
            "reason": "Applied",
            "message": "Done.",
            "lastTransitionTime": "2026-12-01T09:00:00Z",
        }
    ],
}
conditions = st.fixed_dictionaries({}, optional=dict.fromkeys(SHAPE["conditions"][0], json_values))
statuses = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys([*SHAPE, "foreign"], json_values), "conditions": st.lists(conditions) | json_values}
)


@given(statuses | json_values)
def test_every_status_can_be_read(raw: Any) -> None:
    """Nothing that stands in a status raises, and what was read is read again once it is written."""
    found = Status.from_json(raw)

    assert Status.from_json(found.as_json()) == replace(found, foreign=False)


def test_a_status_of_ours_is_read_in_full() -> None:
    """A status in our own notation is what was written."""
    found = Status.from_json(SHAPE)

    assert (found.foreign, found.as_json()) == (False, SHAPE)
    assert (found.observed_generation, found.phase) == (3, Phase.APPLIED)


@pytest.mark.parametrize(
    "odd",
    [
        {"phase": "Molten"},
        {"appliedAt": "yesterday"},
        {"appliedAt": "2026-12-01T10:00:00+01:00"},
        {"observedGeneration": True},
        {"conditions": [*SHAPE["conditions"], {"type": "Applied"}, "odd"]},
        {"conditions": {}},
        {"unknown": 1},
        {"foreign": False},
        {"change": None},
    ],
)
def test_what_is_not_ours_makes_a_status_differ(odd: dict[str, Any]) -> None:
    """A field or a notation that is not ours spoils no other field, and makes it differ from every computed one."""
    found = Status.from_json({**SHAPE, **odd})

    assert found.foreign
    assert found != Status.from_json(found.as_json())
    rest = {name: value for name, value in SHAPE.items() if name not in odd}
    assert {name: value for name, value in found.as_json().items() if name in rest} == rest
