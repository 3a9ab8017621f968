"""Writes the status of plans, and nothing else does. Called by the mirror of plans."""

from flagschedule.domain import plan_status
from flagschedule.domain.errors import ObjectGoneError
from flagschedule.domain.plan import FlagPlan, PlanStatus
from flagschedule.domain.plan_rows import PlanFacts
from flagschedule.domain.plan_status import PlanTransition
from flagschedule.domain.planning import PlanDecision
from flagschedule.ports.cluster import ObjectClient
from flagschedule.ports.measuring import Telemetry
from flagschedule.services.event_recorder import EventRecorder


class PlanStatusWriter:
    """Computes the status of a plan that was just planned, and writes it if it is not the object's."""

    def __init__(
        self, client: ObjectClient[FlagPlan, PlanStatus], recorder: EventRecorder, telemetry: Telemetry
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._telemetry = telemetry

    def is_stale(self, obj: FlagPlan, facts: PlanFacts, decision: PlanDecision) -> bool:
        """Return whether the object shows another status than it should."""
        wanted = plan_status.compute(obj, facts, decision)
        return wanted is not None and wanted != obj.status

    async def write(self, obj: FlagPlan, facts: PlanFacts, decision: PlanDecision) -> None:
        """Write the status, only to this uid and version. Only one task at a time works on an object.

        Raises:
            DependencyUnavailableError: the API server is away.
            ObjectChangedError: the object changed since it was read; it is to be read and planned again.
        """
        wanted = plan_status.compute(obj, facts, decision)
        if wanted is None or wanted == obj.status:
            return
        try:
            await self._client.write_status(obj.ref, obj.resource_version, wanted)
        except ObjectGoneError:
            return  # there is no object to write to
        transition = PlanTransition(old=obj.status, new=wanted)
        self._telemetry.plan_status_written(transition)
        self._recorder.record(obj.ref, transition, facts.now)
