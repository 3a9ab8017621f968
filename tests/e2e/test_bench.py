"""The benchmark in pods still runs; what it measures is for people to judge."""

import pytest

from benchmarks import lateness
from dev.localkind import kind_binary

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]  # it makes a cluster of its own


@pytest.mark.skipif(not kind_binary.is_own(), reason="the control groups of kind's pods are not known")
def test_a_run_in_a_pod_is_measured() -> None:
    """A run of the CronJob's template is seen from its process's start to its end, with what it used."""
    results = list(lateness.run(lateness.Size(minutes=0, cases=(), starts=1, due=100), lambda _: None))

    assert len(results) == 8
    assert all(result.median > 0 for result in results)
