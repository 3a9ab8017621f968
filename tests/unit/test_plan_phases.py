"""The state machine of docs/reference/flagplan.md, walked on the operator's services in memory.

A walk brings a plan into the phase from which an edge leads, acts, and waits for the phase to which it leads.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from flagschedule.domain.outcome import Holding, Reason, State
from flagschedule.domain.plan import APPROVAL_ANNOTATION, FlagPlan, Phase
from flagschedule.domain.schedule import RETRY_ANNOTATION
from tests.support.asynchronous import reaches
from tests.support.plans import change, plan_body
from tests.unit.builders import rfc3339
from tests.unit.plan_services import Plans

pytestmark = pytest.mark.simulated_time

_PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "flagplan.md"
_EDGE: Final = re.compile(r"^ +(\[\*\]|\w+) --> (\[\*\]|\w+): (.+)$")
_HOUR: Final = timedelta(hours=1)
GONE: Final = "[*]"

Edge = tuple[str, str, str]


class Walker:
    """One plan of two steps, the second one an hour after the first, and its flag."""

    def __init__(self, on: Plans) -> None:
        self.on = on
        self.begin = on.database.now + _HOUR
        self._flag = on.database.flag("chat")

    def steps(self, **second: Any) -> list[dict[str, Any]]:
        """The steps, the second one with further fields."""
        return [
            {"name": "one", "at": rfc3339(self.begin), "changes": [change(rolloutPercentage=5)]},
            {"name": "two", "after": "1h", "changes": [change(rolloutPercentage=100)], **second},
        ]

    def without_flag(self) -> None:
        """Delete the flag, and its rows with it."""
        self.on.database.delete_flag(self._flag)

    def with_flag(self) -> None:
        """Create the flag again."""
        self._flag = self.on.database.flag("chat")

    def create(self, **fields: Any) -> None:
        """Create the plan."""
        steps = fields.pop("steps", self.steps())
        body = plan_body(*steps, created_at=self.on.database.now, **fields)
        del body["metadata"]["uid"]
        self.on.plans.notice(FlagPlan.from_body(self.on.plan_server.create(body)))

    def edit(self, **spec: Any) -> None:
        """Edit the spec; the steps are given as `steps`."""
        self._notice(self.on.plan_server.edit("shop", "plan", **spec))

    def annotate(self, name: str, value: str) -> None:
        """Set an annotation."""
        self._notice(self.on.plan_server.annotate("shop", "plan", **{name: value}))

    def delete(self) -> None:
        """Delete the plan."""
        self.on.plan_server.delete("shop", "plan")
        if found := self.on.plan_server.objects.get(("shop", "plan")):
            self._notice(found)

    def make(self) -> None:
        """Let what is pending be made, as the processor does once it is due."""
        self._finish(state=State.APPLIED, reason=Reason.APPLIED)

    def refuse(self) -> None:
        """Let the last attempt of what is pending fail."""
        self._finish(state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED, last_error="refused")

    def overtake(self) -> None:
        """Let what is pending come later than its deadline."""
        self._finish(state=State.FAILED, reason=Reason.DEADLINE_EXCEEDED)

    def pass_time(self, time: timedelta = 2 * _HOUR) -> None:
        """Let time pass; the operator looks again when something happens."""
        self.on.database.now += time

    def freeze(self) -> None:
        """Let a freeze hold what is due."""
        self.pass_time()
        ref = FlagPlan.from_body(self.on.plan_server.objects["shop", "plan"]).ref
        self.on.database.holdings[ref] = Holding("incident", "INC-1", None)
        self.on.plan_resync.refresh([ref])

    def unfreeze(self) -> None:
        """Let it hold nothing any more."""
        self.on.plan_resync.refresh(self.on.database.holdings)
        self.on.database.holdings.clear()

    @property
    def phase(self) -> str | None:
        """The phase that the plan shows; of a plan that was removed `[*]`."""
        body = self.on.plan_server.objects.get(("shop", "plan"))
        if body is None:
            return GONE
        found = FlagPlan.from_body(body)
        return found.status.phase if found.settled else None

    def _finish(self, **fields: Any) -> None:
        for schedule, (_, row) in [*self.on.database.rows.items()]:
            if not row.finished:
                self.on.database.now = max(self.on.database.now, row.scheduled_at)
                self.on.database.change_row(schedule, **fields, applied_at=self.on.database.now)
                self.on.database.notify(schedule)

    def _notice(self, body: Any) -> None:
        self.on.plans.notice(FlagPlan.from_body(body))


Act = Callable[[Walker], object]
LATER: Final = {"name": "three", "after": "1h", "changes": [change()]}


def _ways() -> dict[str, list[tuple[Act, str]]]:
    """How a plan gets into each phase: what is done, and the phase after it."""
    active: list[tuple[Act, str]] = [(Walker.create, "Active")]
    return {
        GONE: [],
        "Active": active,
        "Suspended": [(lambda it: it.create(suspend=True), "Suspended")],
        "Waiting": [(lambda it: it.create(steps=it.steps(approval=True)), "Active"), (Walker.make, "Waiting")],
        "Frozen": [*active, (Walker.freeze, "Frozen")],
        "Finished": [*active, (Walker.make, "Active"), (Walker.make, "Finished")],
        "Cancelled": [(lambda it: it.create(cancel=True), "Cancelled")],
        "Failed": [*active, (Walker.refuse, "Failed")],
        "Invalid": [(lambda it: it.create(steps=it.steps(after="2h", until="12:00")), "Invalid")],
    }


WAYS: Final = _ways()


def _create_late(walker: Walker, late: timedelta) -> None:
    walker.begin = walker.on.database.now - late
    walker.create()


def _create_without_flag(walker: Walker) -> None:
    walker.without_flag()
    walker.create()


def _make_last(walker: Walker) -> None:
    walker.edit(steps=walker.steps()[:1])
    walker.make()


def _unfreeze_and_make(walker: Walker) -> None:
    walker.unfreeze()
    _make_last(walker)


def _create_flag_late(walker: Walker) -> None:
    walker.pass_time()
    walker.with_flag()


def _make_before_an_approval(walker: Walker) -> None:
    walker.edit(steps=walker.steps(approval=True))
    walker.make()


def _resume_into_a_freeze(walker: Walker) -> None:
    walker.freeze()
    walker.edit(suspend=False)


def _retry(walker: Walker) -> None:
    walker.annotate(RETRY_ANNOTATION, "now")


ACTS: Final[dict[Edge, Act]] = {
    (GONE, "Active", "created"): Walker.create,
    (GONE, "Suspended", "created with suspend"): lambda it: it.create(suspend=True),
    (GONE, "Waiting", "created before its flag"): _create_without_flag,
    (GONE, "Waiting", "created, the first step needs an approval"): lambda it: it.create(
        steps=[{**it.steps()[0], "approval": True}]
    ),
    (GONE, "Cancelled", "created with cancel"): lambda it: it.create(cancel=True),
    (GONE, "Failed", "first seen too late"): lambda it: _create_late(it, _HOUR),
    (GONE, "Finished", "an old file from Git"): lambda it: _create_late(it, 48 * _HOUR),
    (GONE, "Invalid", "created, cannot be used"): lambda it: it.create(steps=it.steps(until="12:00")),
    ("Active", "Active", "a step is made"): Walker.make,
    ("Active", "Waiting", "a step is made, the next one needs an approval"): _make_before_an_approval,
    ("Active", "Finished", "the last step is made"): _make_last,
    ("Active", "Failed", "a step is not made"): Walker.refuse,
    ("Active", "Failed", "the flag is deleted"): Walker.without_flag,
    ("Active", "Waiting", "edited, a flag does not exist"): lambda it: it.edit(
        steps=[{**it.steps()[0], "changes": [change("other")]}]
    ),
    ("Active", "Active", "edited"): lambda it: it.edit(steps=it.steps(after="3h")),
    ("Waiting", "Active", "approved"): lambda it: it.annotate(APPROVAL_ANNOTATION, "two"),
    ("Waiting", "Active", "the flag appears"): Walker.with_flag,
    ("Waiting", "Failed", "the flag appears too late"): _create_flag_late,
    ("Waiting", "Active", "edited, no approval is needed"): lambda it: it.edit(steps=it.steps()),
    ("Active", "Suspended", "suspend is set"): lambda it: it.edit(suspend=True),
    ("Waiting", "Suspended", "suspend is set"): lambda it: it.edit(suspend=True),
    ("Frozen", "Suspended", "suspend is set"): lambda it: it.edit(suspend=True),
    ("Failed", "Suspended", "suspend is set"): lambda it: it.edit(suspend=True),
    ("Suspended", "Active", "suspend is taken back"): lambda it: it.edit(suspend=False),
    ("Suspended", "Frozen", "suspend is taken back, a freeze is active"): _resume_into_a_freeze,
    ("Active", "Frozen", "a freeze is active when a step is due"): Walker.freeze,
    ("Frozen", "Active", "the freeze ends"): Walker.unfreeze,
    ("Frozen", "Finished", "the freeze ends, the last step is made"): _unfreeze_and_make,
    ("Frozen", "Failed", "startingDeadlineSeconds have passed"): Walker.overtake,
    ("Failed", "Active", "retry requested"): _retry,
    ("Failed", "Active", "edited"): lambda it: it.edit(
        steps=[{**it.steps()[0], "changes": [change(rolloutPercentage=1)]}]
    ),
    ("Invalid", "Active", "edited"): lambda it: it.edit(steps=it.steps()),
    ("Invalid", "Suspended", "edited, suspend is set"): lambda it: it.edit(steps=it.steps(), suspend=True),
    ("Finished", "Active", "a step is added"): lambda it: it.edit(steps=[*it.steps(), LATER]),
    ("Finished", "Finished", "edited too late"): lambda it: it.edit(
        steps=it.steps(changes=[change(rolloutPercentage=1)])
    ),
    ("Cancelled", "Cancelled", "edited too late"): lambda it: it.edit(cancel=False),
    **{
        (phase, "Invalid", "edited, cannot be used"): lambda it: it.edit(steps=it.steps(until="12:00"))
        for phase in ("Active", "Suspended", "Waiting", "Frozen", "Finished", "Failed")
    },
    **{
        (phase, "Cancelled", "cancel is set"): lambda it: it.edit(cancel=True)
        for phase in ("Active", "Suspended", "Waiting", "Frozen", "Finished", "Failed", "Invalid")
    },
    **{(phase, GONE, "deleted"): Walker.delete for phase in Phase},
}


# Of edges that do not begin as `WAYS` says.
STARTS: Final[dict[Edge, list[tuple[Act, str]]]] = {
    edge: [(_create_without_flag, "Waiting")] for edge in ACTS if edge[2].startswith("the flag appears")
}


def edges_of_the_page() -> list[Edge]:
    """Return every line of every diagram."""
    blocks = re.findall(r"^```mermaid\nstateDiagram-v2\n(.*?)^```$", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found = [_EDGE.match(line) for line in "".join(blocks).splitlines()]
    assert all(found)
    return [(edge[1], edge[2], edge[3]) for edge in found if edge]


def test_the_page_and_the_walks_have_the_same_edges() -> None:
    """An edge of the page without a walk fails, and so does a walk without an edge."""
    edges = edges_of_the_page()

    assert len(edges) == len(set(edges))
    assert set(edges) == ACTS.keys()


@pytest.mark.parametrize("edge", ACTS, ids="-".join)
async def test_each_edge_leads_where_the_page_says(edge: Edge) -> None:
    """From the phase before, by what its label says, to the phase after it."""
    before, after, _ = edge
    walker = Walker(Plans())

    async with walker.on.watching():
        for act, phase in [*STARTS.get(edge, WAYS[before]), (ACTS[edge], after)]:
            await act_and_see(walker, act, phase)


async def act_and_see(walker: Walker, act: Act, phase: str) -> None:
    """Act, and wait until the plan shows the phase, and nothing of it is in line."""
    result = act(walker)
    assert not isinstance(result, Awaitable)
    entries = walker.on.database.status_entries
    await reaches(lambda: walker.phase == phase and not (entries or walker.on.plans.in_line()), within=120)
