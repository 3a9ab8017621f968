"""Faults of a real cluster around the product in pods: what was planned is applied once all the same."""

from datetime import timedelta

import pytest

from tests.cluster.api import eventually
from tests.e2e.pods import Pods

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

UNAVAILABLE = 3


def test_an_unreachable_database_costs_no_retry(pods: Pods) -> None:
    """While packets to the database vanish a run ends with 3; afterwards the change is made at the first attempt."""
    flag = pods.database.flag("unreachable")
    due = pods.plan("unreachable", flag="unreachable")
    pods.wait("unreachable", "condition=Ready")
    leader = pods.holder.rpartition("_")[0]

    with pods.database_unreachable():
        pods.wait_until_due(due)
        assert pods.run_processor().exit_code == UNAVAILABLE
        eventually(lambda: not pods.is_ready(leader), "the operator says that it cannot work")

    assert pods.run_processor().exit_code == 0
    pods.wait("unreachable", "condition=Applied")
    assert pods.database.state(flag) == (True, 25)
    assert pods.schedule("unreachable")["retry_count"] == 0
    assert pods.attempts("unreachable") == ["applied"]
    eventually(lambda: pods.is_ready(leader), "the operator works again")


@pytest.mark.parametrize("daemon", ["containerd", "etcd", "kubelet", "kube-apiserver"])
def test_a_crash_of_the_clusters_parts_loses_nothing(pods: Pods, daemon: str) -> None:
    """A part of the cluster is killed before a schedule is due: the change is made once, and the status says so."""
    name = f"after-{daemon}"
    flag = pods.database.flag(name)
    due = pods.plan(name, flag=name)
    pods.wait(name, "condition=Ready")

    pods.crash(daemon)
    pods.wait_until_due(due)
    assert pods.run_processor().exit_code == 0

    pods.wait(name, "condition=Applied")
    assert pods.database.state(flag) == (True, 25)
    assert pods.attempts(name) == ["applied"]


def test_a_frozen_leader_does_no_harm(pods: Pods) -> None:
    """A frozen leader is replaced; when it continues it ends, and its successor still leads."""
    pods.database.flag("frozen")
    eventually(lambda: pods.holder != "", "one of them leads")
    holder = pods.holder
    leader = holder.rpartition("_")[0]
    restarts = pods.restarts(leader)

    pods.signal(leader, "SIGSTOP")
    pods.plan("meanwhile", flag="frozen", after=timedelta(hours=1))
    pods.wait("meanwhile", "condition=Ready")
    successor = pods.holder
    pods.signal(leader, "SIGCONT")
    eventually(lambda: pods.restarts(leader) > restarts, "the former leader has ended")

    pods.plan("afterwards", flag="frozen", after=timedelta(hours=1))
    pods.wait("afterwards", "condition=Ready")
    assert successor not in {"", holder}
    assert pods.holder == successor
