"""What Argo CD and kstatus say of FlagPlans and FlagFreezes, and what Argo CD offers for plans."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from flagschedule.domain.freeze import FlagFreeze
from flagschedule.domain.freeze_status import FreezeState, compute
from flagschedule.domain.outcome import Holding, Reason, State
from flagschedule.domain.plan_rows import Changes, Content, Key, Link, Part, PlanFacts, PlanRecord
from flagschedule.domain.plan_status import compute as compute_plan
from flagschedule.domain.planning import PlanDecision, Stop, View
from flagschedule.domain.schedule import Uid
from tests.cluster import freeze_corpus
from tests.gitops import argocd, kstatus
from tests.support.plans import change, plan_object
from tests.unit.builders import HOUR, NOW

ACTIVE: Final = FreezeState(active=True)
Body = dict[str, Any]
MEANS: Final = {"Current": "is ready", "InProgress": "waits, until its timeout", "Failed": "fails"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the tools say of an object with this status."""

    label: str
    status: Body
    health: str
    verdict: str
    actions: frozenset[str] = frozenset()
    spec: Body = field(default_factory=dict)

    @property
    def body(self) -> Body:
        """An object of generation 1."""
        metadata = {"name": "x", "namespace": "shop", "generation": 1}
        return {"metadata": metadata, "spec": self.spec, "status": self.status}


def planned(view: View, *links: Link, holding: Holding | None = None, **spec: Any) -> Body:
    """Return the status that the operator writes for a plan of which planning found this."""
    obj = plan_object({"name": "all", "at": "2035-01-12T09:00:00Z", "changes": [change()]}, created_at=NOW, **spec)
    cancelled = obj.cancel
    record = PlanRecord(ref=obj.ref, created_at=NOW, planned_from=NOW, generation=1, cancelled=cancelled)
    facts = PlanFacts(record=record, links={link.key: link for link in links}, flags={}, now=NOW, holding=holding)
    found = compute_plan(obj, facts, PlanDecision(record=record, changes=Changes(), view=view))
    assert found is not None
    return found.as_json()


FLAG: Final = ("checkout", "production")
OVERDUE: Final = Link(
    key=Key("2026-12-01", "all", Part.END, *FLAG),
    plan=Uid(UUID(int=7)),
    schedule_id=UUID(int=8),
    is_chain=True,
    due_at=NOW - HOUR,
    updates={"enabled": False},
    state=State.PENDING,
    content=Content(scheduled_at=NOW - HOUR, updates={"enabled": False}, max_retries=3),
)
FAILED: Final = replace(OVERDUE, state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED, error="no", content=None)
PLANS: Final = [
    Case(
        label="Active",
        status=planned(View(can_finish=True)),
        health="Healthy",
        verdict="Current",
        actions=frozenset({"suspend"}),
    ),
    Case(
        label="Frozen",
        status=planned(View(), OVERDUE, holding=Holding("incident", "INC-4711", None)),
        health="Suspended",
        verdict="Current",
        actions=frozenset({"suspend"}),
    ),
    Case(
        label="Suspended",
        status=planned(View(), suspend=True),
        spec={"suspend": True},
        health="Suspended",
        verdict="Current",
        actions=frozenset({"resume"}),
    ),
    Case(
        label="Waiting for an approval",
        status=planned(View(approval="all", can_finish=True)),
        health="Suspended",
        verdict="Current",
        actions=frozenset({"suspend", "promote"}),
    ),
    Case(
        label="Waiting for a flag",
        status=planned(View(missing={FLAG: Reason.FLAG_NOT_FOUND}, can_finish=True)),
        health="Degraded",
        verdict="InProgress",
        actions=frozenset({"suspend"}),
    ),
    Case(
        label="Finished",
        status=planned(View(is_finished=True, can_finish=True)),
        health="Healthy",
        verdict="Current",
    ),
    Case(
        label="Cancelled",
        status=planned(View(), cancel=True),
        health="Healthy",
        verdict="Current",
    ),
    Case(
        label="Failed",
        status=planned(View(stop=Stop(step="all", links=(FAILED,)), can_finish=True), FAILED),
        health="Degraded",
        verdict="Failed",
        actions=frozenset({"suspend", "retry"}),
    ),
    Case(
        label="Invalid",
        status=planned(View(), maxRetries=11),
        health="Degraded",
        verdict="Failed",
        actions=frozenset({"suspend"}),
    ),
]


def frozen(state: FreezeState, *, obeyed: bool = True, fault: str | None = None) -> Body:
    """Return the status that the operator writes for a freeze."""
    metadata = {"uid": str(UUID(int=7)), "name": "x", "generation": 1, "resourceVersion": "1"}
    obj = FlagFreeze.from_body({"metadata": metadata, "spec": freeze_corpus.spec()})
    return compute(obj, state, obeyed=obeyed, fault=fault, now=NOW).as_json()


FREEZES: Final = [
    Case(
        label="Scheduled",
        status=frozen(FreezeState(next_from=NOW + HOUR, next_until=NOW + 2 * HOUR)),
        health="Healthy",
        verdict="Current",
    ),
    Case(label="Pending", status=frozen(ACTIVE, obeyed=False), health="Progressing", verdict="Current"),
    Case(label="Active", status=frozen(ACTIVE), health="Healthy", verdict="Current"),
    Case(label="Finished", status=frozen(FreezeState()), health="Healthy", verdict="Current"),
    Case(label="Invalid", status=frozen(FreezeState(), fault="no"), health="Degraded", verdict="Failed"),
]
KINDS: Final = {"FlagPlan": PLANS, "FlagFreeze": FREEZES}
ALL: Final = [pytest.param(kind, case, id=f"{kind} {case.label}") for kind, cases in KINDS.items() for case in cases]
PLAN_CASES: Final = [pytest.param(case, id=case.label) for case in PLANS]


@pytest.mark.parametrize(("kind", "case"), ALL)
def test_each_phase_has_its_health(kind: str, case: Case) -> None:
    """Stalled and Waiting for a flag are Degraded; what waits for a person is Suspended; the message is ours."""
    seen = argocd.health(case.body, kind)

    assert seen["status"] == case.health
    assert seen["message"] in {condition["message"] for condition in case.body["status"]["conditions"]}


@pytest.mark.parametrize(("kind", "case"), ALL)
@pytest.mark.kstatus
def test_each_phase_has_its_verdict(kind: str, case: Case) -> None:
    """Flux fails for what is Stalled, waits for a missing flag, and goes on for everything else."""
    (seen,) = kstatus.judge(case.body, kind=kind)

    assert seen["status"] == case.verdict


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.kstatus
def test_an_unseen_generation_is_in_progress(kind: str) -> None:
    """A new object and an edited one are never taken for reconciled ones."""
    new = PLANS[0].body | {"status": {"observedGeneration": -1}}
    edited = [case.body | {"metadata": {"name": "x", "generation": 2}} for case in KINDS[kind]]

    assert {argocd.health(obj, kind)["status"] for obj in (new, *edited)} == {"Progressing"}
    assert {seen["status"] for seen in kstatus.judge(new, *edited, kind=kind)} == {"InProgress"}


@pytest.mark.parametrize("case", PLAN_CASES)
def test_each_phase_of_a_plan_has_its_actions(case: Case) -> None:
    """Each action is offered where it does something."""
    assert argocd.enabled_actions(case.body, "FlagPlan") == case.actions


def test_promote_approves_the_step_that_waits() -> None:
    """The annotation names the step for which the plan waits, and nothing else changes."""
    (obj,) = (case.body for case in PLANS if "promote" in case.actions)

    changed = argocd.act("promote", obj, "FlagPlan")

    assert changed["metadata"]["annotations"] == {"flagschedule.io/approved": "all"}
    assert changed["status"] == obj["status"]


def test_suspend_resume_and_retry_do_what_they_do_for_schedules() -> None:
    """Suspend and resume set the field, retry sets the annotation to the present time."""
    obj = PLANS[0].body

    assert argocd.act("suspend", obj, "FlagPlan")["spec"] == {"suspend": True}
    assert argocd.act("resume", obj, "FlagPlan")["spec"] == {"suspend": False}
    requested = argocd.act("retry", obj, "FlagPlan")["metadata"]["annotations"]["flagschedule.io/retry-requested-at"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", requested)


def test_the_page_shows_what_each_tool_says() -> None:
    """The tables of docs/how-to/gitops.md have the answers for every phase of both kinds."""
    page = Path("docs/how-to/gitops.md").read_text().splitlines()
    for kind, cases in KINDS.items():
        start = page.index(f"| {kind} | Argo CD: health | kstatus | Flux: a Kustomization with `wait: true` |")
        assert page[start + 2 : page.index("", start)] == [
            f"| {case.label} | {case.health} | {case.verdict} | {MEANS[case.verdict]} |" for case in cases
        ]
