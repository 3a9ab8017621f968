"""A person, two operators, a processor and a clock act in any order; what must hold after each step.

The database, the processor and the trigger that keeps a lost row's outcome are a few lines here; the decisions and the
statuses are the product's. The same orders of work on a real Postgres are the business of the tests of races.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flagschedule.domain.decision import Facts, Rules, decide
from flagschedule.domain.outcome import Reason, Record, Row, Snapshot, State
from flagschedule.domain.schedule import FlagSchedule, Status
from flagschedule.domain.status import compute
from tests.unit.builders import FLAG_ID, HOUR, NOW, obj

RULES: Final = Rules(max_retries=1, max_lateness=timedelta(minutes=10))
DAY: Final = timedelta(days=1)
HANDLED: Final = {"Applied", "Superseded", "Skipped", "Cancelled"}
edits = st.one_of(
    st.fixed_dictionaries({"at": st.sampled_from([NOW - 2 * DAY, NOW - HOUR, NOW, NOW + HOUR, NOW + DAY])}),
    st.fixed_dictionaries({"updates": st.sampled_from([{"enabled": True}, {"rolloutPercentage": 7}, {}])}),
    st.fixed_dictionaries({"suspend": st.booleans()}),
    st.fixed_dictionaries({"cancel": st.booleans()}),
    st.fixed_dictionaries({"flagKey": st.sampled_from(["checkout-v2", "other"])}),
    st.fixed_dictionaries({"maxRetries": st.integers(0, 2)}),
    st.fixed_dictionaries({"startingDeadlineSeconds": st.sampled_from([None, 10, 7200])}),
)


@dataclass(frozen=True)
class Attempt:
    """One line of the history; the first three are its key."""

    schedule: UUID | None
    arming: int
    number: int
    applied: bool


class Cluster(RuleBasedStateMachine):
    """One object from its creation to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW - 2 * HOUR
        self.wish: dict[str, Any] = {"at": NOW + HOUR, "created_at": NOW - 3 * HOUR}
        self.generation = 1
        self.request: str | None = None
        self.requests = 0
        self.deleting = False
        self.status: dict[str, Any] = {"observedGeneration": -1}
        self.views: list[FlagSchedule] = []
        self.flag: UUID | None = FLAG_ID
        self.record: Record | None = None
        self.row: Row | None = None
        self.rows = 0
        self.flags: dict[UUID, str] = {}  # of each row, the flag that it was made for
        self.attempts: list[Attempt] = []
        self.final: tuple[State | None, Reason | None] | None = None
        self._see()

    # ---- the person ----

    @precondition(lambda self: not self.deleting)
    @rule(edit=edits)
    def edit(self, edit: dict[str, Any]) -> None:
        """Change the spec, also in ways that policies refuse to people: GitOps tools are let in."""
        self.wish = self.wish | edit
        self.generation += 1
        self._see()

    @precondition(lambda self: not self.deleting)
    @rule(again=st.booleans())
    def request_retry(self, again: bool) -> None:
        """Request a retry with a new value, or take the request away."""
        self.requests += again
        self.request = str(self.requests) if again else None
        self._see()

    @precondition(lambda self: not self.deleting)
    @rule()
    def delete(self) -> None:
        """Delete the object, which stays until an operator has released it."""
        self.deleting = True
        self.generation += 1
        self._see()

    # ---- the operators ----

    @rule()
    def mirror(self) -> None:
        """Mirror the object as it is."""
        self._mirror(self.views[-1])

    @rule(back=st.integers(1, 4))
    def mirror_stale(self, back: int) -> None:
        """Mirror the object as it was."""
        self._mirror(self.views[max(0, len(self.views) - 1 - back)])

    @precondition(lambda self: not self.deleting)
    @rule()
    def write_status(self) -> None:
        """Write the status."""
        status = compute(self.views[-1], Snapshot(record=self.record, row=self.row, now=self.now))
        if status is None:
            return
        if self.status.get("phase") in HANDLED:
            before = Status.from_json(self.status)
            assert (status.phase, status.change, status.scheduled_at) == (
                before.phase,
                before.change,
                before.scheduled_at,
            )
        assert (status.observed_generation or 0) <= self.generation
        self.status = status.as_json()
        self._see()

    # ---- the processor, the clock and the host ----

    @precondition(lambda self: self._is_due())
    @rule(succeeds=st.booleans())
    def process(self, succeeds: bool) -> None:
        """Bring the row to its outcome, as the statement does."""
        row = self.row
        assert row
        number = row.retry_count + 1
        if row.state is State.PENDING and row.not_after and row.not_after < self.now:
            change: dict[str, Any] = {"state": State.FAILED, "reason": Reason.DEADLINE_EXCEEDED, "next_retry_at": None}
            succeeds = False
        elif succeeds:
            change = {"state": State.APPLIED, "reason": Reason.APPLIED, "applied_at": self.now, "next_retry_at": None}
        elif row.retry_count < row.max_retries:
            later = {"retry_count": number, "next_retry_at": self.now + timedelta(minutes=2)}
            change = {"state": State.FAILED, "reason": Reason.ATTEMPT_FAILED, **later}
        else:
            change = {"state": State.FAILED, "reason": Reason.RETRIES_EXHAUSTED, "next_retry_at": None}
        assert not row.suspended
        self.attempts.append(Attempt(row.id, row.arming, number, succeeds))
        self.row = replace(row, **change)

    @rule(step=st.sampled_from([timedelta(minutes=3), timedelta(minutes=30), HOUR]))
    def wait(self, step: timedelta) -> None:
        """Time passes."""
        self.now += step

    @rule()
    def lose_flag(self) -> None:
        """Delete the flag as the host does; the row goes with it, and its outcome is kept."""
        self.flag = None
        if self.row is not None and self.record is not None:
            unfinished = not self.row.finished
            self.record = replace(
                self.record,
                state=State.FAILED if unfinished else self.row.state,
                reason=Reason.FLAG_DELETED if unfinished else self.row.reason,
                applied_at=self.row.applied_at,
            )
        self.row = None

    @rule()
    def find_flag(self) -> None:
        """Create the flag as the host does."""
        self.flag = FLAG_ID

    # ---- what must hold ----

    @invariant()
    def what_was_applied_or_given_up_stays_so(self) -> None:
        """Check that a final outcome never regresses, whether by an edit, a stale view, a request or a lost row."""
        outcome = self._outcome()
        if self.final is not None:
            assert outcome == self.final
        elif outcome[0] is State.APPLIED or outcome in {
            (State.CANCELLED, Reason.CANCELLED),
            (State.CANCELLED, Reason.DELETED),
        }:
            self.final = outcome

    @invariant()
    def one_attempt_has_one_line_and_one_object_one_effect(self) -> None:
        """Check that no two attempts share their key, and that at most one succeeded: applied is final."""
        keys = [(attempt.schedule, attempt.arming, attempt.number) for attempt in self.attempts]
        assert len(set(keys)) == len(keys)
        assert sum(attempt.applied for attempt in self.attempts) <= 1
        assert any(attempt.applied for attempt in self.attempts) == (self._outcome()[0] is State.APPLIED)

    @invariant()
    def an_armed_row_holds_the_mirrored_plan(self) -> None:
        """Check that a row that may still be applied holds the plan of the newest generation that was mirrored."""
        if self.row is None or self.row.finished or self.record is None:
            return
        (wanted,) = {view.spec for view in self.views if view.generation == self.record.generation}
        assert wanted
        assert (self.row.scheduled_at, self.row.updates) == (wanted.scheduled_at, wanted.updates.as_json())
        assert self.row.suspended == wanted.suspend
        assert self.row.id
        assert self.flags[self.row.id] == wanted.flag_key
        assert not wanted.cancel
        assert not self.record.deleted

    def _see(self) -> None:
        wanted = {key: value for key, value in self.wish.items() if value is not None}
        annotations = {} if self.request is None else {"flagschedule.io/retry-requested-at": self.request}
        about = {"annotations": annotations, "deleting": self.deleting, "status": self.status}
        self.views.append(obj(generation=self.generation, **about, **wanted))

    def _mirror(self, view: FlagSchedule) -> None:
        facts = Facts(record=self.record, row=self.row, flag_id=self.flag, replay=None, now=self.now)
        decision = decide(view, facts, RULES)
        if view.deleting and self.record is None:
            return  # the store keeps no record of what was never mirrored
        generation, arming = (self.record.generation if self.record else 0), (self.row.arming if self.row else 0)
        record, row = decision.record, decision.row
        if row is not None and row.id is None:
            self.rows += 1
            row = replace(row, id=UUID(int=self.rows))
            record = replace(record, schedule_id=row.id)
            assert view.spec
            self.flags[UUID(int=self.rows)] = view.spec.flag_key
        self.record, self.row = record, row
        assert record.generation >= generation
        assert decision.replaced is None or decision.replaced.finished
        assert row is None or decision.replaced or row.arming >= (arming if facts.row else 0)
        again = decide(view, replace(facts, record=record, row=row), RULES)
        assert (again.record, again.row) == (record, row)

    def _outcome(self) -> tuple[State | None, Reason | None]:
        where = self.row or self.record
        return (where.state, where.reason) if where else (None, None)

    def _is_due(self) -> bool:
        row = self.row
        if row is None or row.suspended or row.finished:
            return False
        return (row.scheduled_at if row.state is State.PENDING else row.next_retry_at or self.now) <= self.now


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
