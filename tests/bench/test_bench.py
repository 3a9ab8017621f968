"""The benchmarks still run; what they measure is for people to judge."""

from typing import Any

import pytest

from dev.cluster import kind_binary
from tests.bench import lateness, processor, scale
from tests.bench.results import Part


@pytest.mark.parametrize(
    ("part", "size", "expected"),
    [
        (processor, processor.Size(due=200, history=100, rounds=1), 10),
        (scale, scale.Size(due=200, histories=(1_000,), future=10, at_once=200, many=200, rounds=1), 9),
    ],
    ids=["processor", "scale"],
)
def test_every_benchmark_measures_something(part: Part, size: Any, expected: int) -> None:
    """At the smallest size each of them ends with figures above zero, for each round."""
    results = list(part.run(size, lambda _: None))

    assert len(results) == expected
    assert all(len(result.rounds) == 1 for result in results)
    assert all(result.median > 0 for result in results if "CPU" not in result.name)


@pytest.mark.node
@pytest.mark.skipif(not kind_binary.is_own(), reason="the control groups of kind's pods are not known")
def test_a_run_in_a_pod_is_measured() -> None:
    """A run of the CronJob's template is seen from its process's start to its end, with what it used."""
    results = list(lateness.run(lateness.Size(minutes=0, cases=(), starts=1, due=100), lambda _: None))

    assert len(results) == 8
    assert all(result.median > 0 for result in results)
