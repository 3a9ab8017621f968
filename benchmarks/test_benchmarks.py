"""The benchmarks still run; what they measure is for people to judge."""

from typing import Any

import pytest

from benchmarks import forms, mirror, processor, scale
from benchmarks.results import Part
from benchmarks.stage import stage


@pytest.mark.parametrize(
    ("part", "size", "expected"),
    [
        (processor, processor.Size(due=200, history=100, rounds=1), 16),
        (forms, forms.Size(due=3_000, held=500, looks=3, rounds=1), 3 + (forms.before() is not None)),
        (scale, scale.Size(due=200, histories=(1_000,), future=10, at_once=200, many=200, rounds=1), 9),
    ],
    ids=["processor", "forms", "scale"],
)
def test_every_benchmark_measures_something(part: Part, size: Any, expected: int) -> None:
    """At the smallest size each of them ends with figures above zero, for each round."""
    results = list(part.run(size, lambda _: None))

    assert len(results) == expected
    assert all(len(result.rounds) == 1 for result in results)
    assert all(result.median > 0 for result in results if "CPU" not in result.name)


@pytest.mark.apiserver
def test_the_operator_is_measured_with_many_objects() -> None:
    """All that is said of the operator in the mirror's part has a figure, and a restart costs no PATCH."""
    with stage() as on:
        figures = {name: figure for name, _, figure in mirror._operator(on, size=mirror.Size(20, due=10, flood=10))}

    assert figures.pop("restart, PATCHes") == 0
    assert figures["adoption, PATCHes per object"] == 2
    assert all(figure > 0 for figure in figures.values())
