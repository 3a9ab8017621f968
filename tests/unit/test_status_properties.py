"""For every database row and object the status is one that the API server accepts and that programs understand."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from flagschedule.domain.outcome import Holding, Reason, Record, Row, Snapshot, State
from flagschedule.domain.schedule import Phase, Status
from flagschedule.domain.status import compute
from tests.unit.builders import HOUR, NOW, ROW_ID, obj, row

CRD = yaml.safe_load((Path(__file__).parents[2] / "crds" / "flagschedules.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]

# The design's table: per phase, status and reasons of Ready, of Applied, and whether it is Stalled.
FAILURES = {"RetriesExhausted", "ExpectationNotMet", "FlagDeleted", "InvalidUpdates", "DeadlineExceeded"}
TABLE: dict[str, set[tuple[str, str, str, str, bool]]] = {
    "Pending": {("True", "Mirrored", "Unknown", "Scheduled", False)},
    "Suspended": {("True", "Suspended", "Unknown", "Suspended", False)},
    "Waiting": {("False", "FlagNotFound", "Unknown", "FlagNotFound", False)},
    "Retrying": {("True", "Mirrored", "Unknown", "Retrying", False)},
    "Frozen": {("True", "Frozen", "Unknown", "Frozen", False)},
    "Applied": {
        *(
            ("True", ready, "True", why, False)
            for ready in ("Applied", "EditTooLate")
            for why in ("Applied", "AlreadySet")
        ),
        *(("True", ready, "True", "PartlySuperseded", False) for ready in ("Applied", "EditTooLate")),
        *(("True", ready, "True", "Replayed", False) for ready in ("Replayed", "EditTooLate")),
    },
    "Superseded": {("True", ready, "True", "Superseded", False) for ready in ("Superseded", "EditTooLate")},
    "Skipped": {("True", ready, "False", "Skipped", False) for ready in ("Skipped", "EditTooLate")},
    "Cancelled": {("True", ready, "False", "Cancelled", False) for ready in ("Cancelled", "EditTooLate")},
    "Failed": {("False", why, "False", why, True) for why in FAILURES},
    "Expired": {("False", "Expired", "False", "Expired", True), ("True", "Expired", "False", "Expired", False)},
    "Invalid": {("False", "InvalidSpec", "False", "InvalidSpec", True)},
}

times = st.one_of(st.none(), st.sampled_from([NOW - HOUR, NOW, NOW + HOUR]))
reasons = st.one_of(st.none(), st.sampled_from(Reason))
texts = st.one_of(st.none(), st.text(), st.integers(0, 9000).map(lambda length: "e" * length))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
rows = st.builds(
    row,
    state=st.sampled_from([State.PENDING, State.APPLIED, State.FAILED, State.CANCELLED]),
    scheduled_at=st.sampled_from([NOW - HOUR, NOW + HOUR]),
    updates=st.one_of(st.just({"enabled": True}), json_values, st.just({"x" * 300: 1})),
    max_retries=st.integers(0, 10),
    suspended=st.booleans(),
    reason=reasons,
    applied_at=times,
    retry_count=st.integers(0, 2**31 - 1),
    next_retry_at=times,
    last_error=texts,
    sets=st.sampled_from([(), ("enabled",), ("enabled", "rolloutPercentage")]),
)
records = st.builds(
    Record,
    ref=st.just(obj().ref),
    created_at=st.just(NOW),
    schedule_id=st.sampled_from([None, ROW_ID]),
    generation=st.integers(0, 5),
    flag_key=st.sampled_from([None, "k" * 128]),
    environment=st.sampled_from([None, "e" * 64]),
    scheduled_at=times,
    arming_hash=st.sampled_from([None, obj().spec.arming_hash]),  # type: ignore[union-attr]  # it is a good spec
    change_hash=st.sampled_from([None, obj().spec.change_hash]),  # type: ignore[union-attr]  # it is a good spec
    retry_request=texts,
    state=st.one_of(st.none(), st.sampled_from(State)),
    reason=reasons,
    applied_at=times,
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "updates": st.sampled_from([{"enabled": True}, {"rolloutPercentage": 7}, {}, {"u" * 40_000: 1}]),
        "suspend": st.booleans(),
        "cancel": st.booleans(),
        "generation": st.integers(1, 6),
    },
)
holdings = st.sampled_from([None, None, Holding("f" * 63, "r" * 256, None), Holding("incident", "INC-1", NOW + HOUR)])
cases = st.tuples(st.one_of(st.none(), rows), records, specs, holdings)
Case = tuple[Row | None, Record, dict[str, Any], Holding | None]


def computed(
    found: Row | None, known: Record, fields: dict[str, Any], holding: Holding | None, before: Any = None
) -> dict[str, Any] | None:
    """Return the status of that object after the status `before`, in the API's shape."""
    snapshot = Snapshot(record=known, row=found, now=NOW + timedelta(minutes=1), holding=holding)
    made = compute(obj(**fields, status=before), snapshot)
    if made is None:
        return None
    assert Status.from_json(made.as_json()) == made  # or it would be written again and again
    return made.as_json()


def faults(value: Any, schema: dict[str, Any], path: str = "status") -> list[str]:
    """Return where a value breaks the schema; checks the keywords that the CRD uses."""
    kinds: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int}
    if not isinstance(value, kinds[schema["type"]]) or isinstance(value, bool):
        return [f"{path}: {value!r} is no {schema['type']}"]
    found: list[str] = []
    if isinstance(value, dict):
        found += [f"{path}: {key} is unknown" for key in value.keys() - schema["properties"].keys()]
        found += [f"{path}: {key} is missing" for key in set(schema.get("required", [])) - value.keys()]
        for key in value.keys() & schema["properties"].keys():
            found += faults(value[key], schema["properties"][key], f"{path}.{key}")
    if isinstance(value, list):
        found += [f"{path}: too many"] if len(value) > schema["maxItems"] else []
        found += [fault for item in value for fault in faults(item, schema["items"], f"{path}[]")]
    if isinstance(value, str):
        found += [f"{path}: too long"] if len(value) > schema["maxLength"] else []
        found += [f"{path}: too short"] if len(value) < schema.get("minLength", 0) else []
        found += [f"{path}: {value}"] if not re.search(schema.get("pattern", ""), value) else []
        found += [f"{path}: {value}"] if value not in schema.get("enum", [value]) else []
        time = schema.get("format") == "date-time"
        found += [f"{path}: {value}"] if time and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value) else []
    if isinstance(value, int):
        found += [f"{path}: {value}"] if value < schema.get("minimum", value) else []
        found += [f"{path}: {value}"] if schema.get("format") == "int32" and value > 2**31 - 1 else []
    return found


@given(cases)
def test_every_status_is_valid(case: Case) -> None:
    """The API server's schema accepts the status of any object, record and row: shapes, lengths, reasons, times."""
    found, known, *_ = case
    made = computed(*case)
    if made is None:
        assert found is None
        assert known.state is None
        return
    made["conditions"] = [dict(each) for each in made["conditions"]]

    assert faults(made, SCHEMA) == []
    assert len({each["type"] for each in made["conditions"]}) == len(made["conditions"])


@given(cases)
def test_every_status_is_a_line_of_the_table(case: Case) -> None:
    """There is always a phase, and conditions and reasons are ones that the table names for it."""
    made = computed(*case)
    if made is None:
        return
    conditions = {each["type"]: (each["status"], each["reason"]) for each in made["conditions"]}

    stalled = conditions.pop("Stalled", None)
    assert conditions.keys() == {"Ready", "Applied"}
    assert (*conditions["Ready"], *conditions["Applied"], stalled is not None) in TABLE[made["phase"]]
    assert stalled in {None, ("True", conditions["Ready"][1])}
    assert TABLE.keys() == set(Phase)


@given(cases)
def test_ready_never_speaks_of_applied(case: Case) -> None:
    """What is planned, held, retried or done is Ready; only what needs a person is not."""
    made = computed(*case)
    if made is None:
        return
    ready = next(each["status"] for each in made["conditions"] if each["type"] == "Ready")
    needed = made["phase"] in {"Waiting", "Failed", "Invalid"} or any(
        each["type"] == "Stalled" for each in made["conditions"]
    )

    assert ready == ("False" if needed else "True")


@given(cases, cases)
def test_transition_times_move_with_the_status_only(first: Case, second: Case) -> None:
    """From any status to any other, lastTransitionTime changes exactly where a condition's status does."""
    before = computed(*first)
    if before is None:
        return
    before["conditions"] = [{**each, "lastTransitionTime": "2020-01-01T00:00:00Z"} for each in before["conditions"]]
    after = computed(*second, before)
    if after is None:
        return
    old = {each["type"]: each["status"] for each in before["conditions"]}

    for each in after["conditions"]:
        moved = each["lastTransitionTime"] != "2020-01-01T00:00:00Z"
        assert moved == (old.get(each["type"]) != each["status"])
        assert each["observedGeneration"] == after["observedGeneration"]


@given(cases)
def test_every_status_settles(case: Case) -> None:
    """A status computed from itself does not change, so writing it comes to an end."""
    first = computed(*case)
    if first is not None:
        assert computed(*case, first) == first
