"""Every word that others can write onto an object or into its rows: `python -m tests.cases objects`.

Annotations and labels that some tool reads, every field of the status as the CRD describes it, and every column of the
object's row and record, each at its extremes. With any content of one object another one is stopped at once, also after
a restart of the operator, and the odd one can be deleted, which ends its plan.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import yaml
from psycopg import sql

from tests.cases import extremes
from tests.cases.report import Report
from tests.neighbours.world import World, until

_CRD: Final = Path(__file__).parents[2] / "crds" / "flagschedules.yaml"
_BATCH: Final = 100
_PATIENCE: Final = 60.0
_KEYS: Final = (
    "flagschedule.io/retry-requested-at",
    "operator.flagschedule.io/retry-requested-at",
    *(  # what Kopf reads as its own, under our prefixes and under its own
        f"{prefix}/{name}"
        for prefix in ("flagschedule.io", "operator.flagschedule.io", "kopf.zalando.org", "kopf.dev")
        for name in ("mirror", "release", "kopf-managed", "last-handled-configuration", "touch-dummy")
    ),
    "argocd.argoproj.io/tracking-id",
    "kustomize.toolkit.fluxcd.io/ssa",
    "meta.helm.sh/release-name",
    "kubectl.kubernetes.io/last-applied-configuration",
)
_WORDS: Final = {
    "empty": "",
    "250 KB": "x" * 250_000,
    "NUL": "a\0b",
    "control characters": "\x01\x1b[2J\x7f",
    "line ends": "a\nb\r\u2028c\x85",
    "emoji": "🚀\U0010ffff",
    "formats": "%s %(id)s {0} $1",
    "garbage": '{"started": 1, "delayed": [], "retries": "x", "success": {}}',
    "delayed for long": '{"started": "2026-01-01T00:00:00", "delayed": "9999-12-31T23:59:59", "retries": 1}',
    "done": '{"started": "2026-01-01T00:00:00", "stopped": "2026-01-01T00:00:01", "success": true}',
    "failed": '{"started": "2026-01-01T00:00:00", "stopped": "2026-01-01T00:00:01", "failure": true, "message": "x"}',
    "deep": "[" * 3000 + "]" * 3000,
    "many digits": "9" * 5000,
    "not a number": "NaN",
}
_TIMES: Final = (
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "2000-01-01T00:00:00+23:59",
    "2020-02-29T12:00:00Z",
)
_MEANINGS: Final = ("Applied", "Failed", "Replayed", "EditTooLate", "Superseded")  # the operator's own words
_ITEM: Final = {"status": "True", "lastTransitionTime": _TIMES[0], "reason": "EditTooLate", "message": "x"}
_LABELS: Final = (
    "app.kubernetes.io/instance",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "app.kubernetes.io/managed-by",
    "velero.io/restore-name",
)
_LABEL_WORDS: Final = {"empty": "", "longest": "x" * 63, "Helm": "Helm", "odd": "a_b.C-9"}
# The condition that finds the row or record of one object.
_ROWS: Final = {
    "feature_flag_schedules": "id = (SELECT schedule_id FROM flag_schedule_objects WHERE namespace = 'noisy' "
    "AND name = %s)",
    "flag_schedule_objects": "namespace = 'noisy' AND name = %s",
    "feature_flags": "flag_key = %s",
}
# The only reference from an object to its row: without it the row counts as another program's.
_LINKS: Final = {("feature_flag_schedules", "id"), ("flag_schedule_objects", "schedule_id")}


@dataclass(frozen=True)
class Odd:
    """One odd word: where it stands, and what it is."""

    place: str
    key: str
    extreme: str
    value: Any

    def __str__(self) -> str:
        return f"{self.place} {self.key} {self.extreme}"


def cases(on: World) -> Iterator[Odd]:
    """Yield all odd values."""
    for key in _KEYS:
        yield from (Odd("annotation", key, name, value) for name, value in _WORDS.items())
    for key in _LABELS:
        yield from (Odd("label", key, name, value) for name, value in _LABEL_WORDS.items())
    yield Odd("metadata", "finalizers", "one without an owner", ["example.com/of-no-owner"])
    yield Odd("metadata", "finalizers", "none", [])
    yield from _statuses()
    for table in _ROWS:
        yield from _columns(on, table)


def _statuses() -> Iterator[Odd]:
    crd = yaml.safe_load(_CRD.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    for field, kind in schema.items():
        yield from (Odd("status", field, name, value) for name, value in _of_schema(kind).items())
    yield Odd("status", "", "nothing", None)


def _of_schema(kind: dict[str, Any]) -> dict[str, Any]:
    """Return the extremes that a schema lets through, and some that it does not."""
    match kind["type"]:
        case "string" if "enum" in kind:
            return {word: word for word in kind["enum"]}
        case "string" if kind.get("format") == "date-time":
            return {time: time for time in _TIMES}
        case "string":
            longest = min(kind.get("maxLength", 1000), 250_000)
            return {
                **{name: word[:longest] for name, word in _WORDS.items()},
                **{word: word for word in _MEANINGS},
                "longest": "x" * longest,
            }
        case "integer":
            bits = 31 if kind.get("format") == "int32" else 63
            return {"least": kind.get("minimum", -(2**bits)), "most": 2**bits - 1, "0": 0}
        case "array":
            return {"empty": [], **_of_items(kind["items"]["properties"])}
    raise KeyError(kind["type"])


def _of_items(fields: dict[str, Any]) -> dict[str, Any]:
    """Return one item of each type that we write, odd in one field; and one of every type that a tool may write."""
    found = {}
    for of_type in ("Ready", "Applied", "Stalled"):
        item = {**_ITEM, "type": of_type}
        for field, kind in fields.items():
            for name, value in _of_schema(kind).items():
                found[f"{of_type} with {field} {name}"] = [{**item, field: value}]
    return found


def _columns(on: World, table: str) -> Iterator[Odd]:
    for found in on.database.query(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS kind FROM pg_attribute AS a "
        "WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' "
        "ORDER BY a.attnum",
        table,
    ):
        if (table, found["attname"]) in {("flag_schedule_objects", "cluster"), ("flag_schedule_objects", "namespace")}:
            continue  # another cluster's or namespace's record is not this object's any more
        for name, value in extremes.of(found["kind"]).items():
            yield Odd(f"{table}: {found['kind']}", found["attname"], name, value)


def run(on: World, report: Report, number: int | None, seed: int, only: str = "") -> None:
    """Try them in batches."""
    everything = [case for case in cases(on) if only in str(case)]
    chance = random.Random(seed)  # noqa: S311 -- a choice, no secret
    chance.shuffle(everything)
    chosen = everything[:number]
    for start in range(0, len(chosen), _BATCH):
        _find(on, report, f"b{start // _BATCH}", chosen[start : start + _BATCH])
        sys.stderr.write(f"... {min(start + _BATCH, len(chosen))} of {len(chosen)}, {len(report.failures)} failures\n")


def _find(on: World, report: Report, prefix: str, odds: list[Odd]) -> None:
    """Try a batch; where another object was not served as it should be, halve it until the one to blame is alone."""
    tried = Report(report.name)
    failure = _batch(on, tried, prefix, odds)
    if failure is None or len(odds) == 1:
        report.add(tried)
        report.case("batches", failure and f"{failure}: {odds[0]}")
        return
    sys.stderr.write(f"... {failure}: one of {len(odds)}, which are halved\n")
    before = len(report.failures)
    for half, part in enumerate((odds[: len(odds) // 2], odds[len(odds) // 2 :])):
        _find(on, report, f"{prefix}-{half}", part)
    if len(report.failures) == before:
        report.case("batches", f"{failure}: none of them alone, but together: {', '.join(map(str, odds))}")


def _batch(on: World, report: Report, prefix: str, odds: list[Odd]) -> str | None:
    """Make the objects odd, stop another one, restart the operator, stop one more, and delete the odd ones.

    Returns:
        What others have suffered from one of them.
    """
    named = {f"{prefix}-{place}": odd for place, odd in enumerate(odds)}
    good = [f"{prefix}-before", f"{prefix}-after"]
    on.flags([*named, *good])
    on.create(on.noisy, named)
    on.create(on.quiet, good)
    assert until(lambda: all(_phase(on, name) for name in named), _PATIENCE), "all are mirrored"
    made = {name: odd for name, odd in named.items() if _make_odd(on, name, odd, report)}
    failures = [_stop(on, good[0])]
    on.operator.kill()
    on.operator.start(wait=False)
    if not until(lambda: on.operator.probe("readyz") == (200, None), _PATIENCE):
        failures.append(f"the operator does not come back: {on.operator.log.read_text()[-300:]}")
    failures.append(_stop(on, good[1]))
    for name in made:
        on.noisy.delete(name)
    until(lambda: not set(made) & set(on.noisy.list()), _PATIENCE)
    left = on.noisy.list()
    for name, odd in made.items():
        report.case(odd.place.partition(":")[0], _fate(on, name, odd, left))
    _clear(on)
    return next(filter(None, failures), None)


def _clear(on: World) -> None:
    """Remove what this batch has left, which must not affect the next one."""
    on.operator.kill()
    for name in on.noisy.list():
        on.noisy.patch(name, {"metadata": {"finalizers": None}})
        on.noisy.delete(name)
    on.database.run("DELETE FROM feature_flags")  # and the rows by their foreign key
    on.database.run("DELETE FROM flag_schedule_objects")
    on.operator.start()


def _phase(on: World, name: str) -> bool:
    return "phase" in on.noisy.get(name).get("status", {})


def _make_odd(on: World, name: str, odd: Odd, report: Report) -> bool:
    if odd.place == "status":
        patch = {"status": {odd.key: odd.value} if odd.key else None}
        answer = on.noisy.patch(name, patch, "/status")
    elif odd.place in {"annotation", "label"}:
        answer = on.noisy.patch(name, {"metadata": {f"{odd.place}s": {odd.key: odd.value}}})
    elif odd.place == "metadata":
        answer = on.noisy.patch(name, {"metadata": {odd.key: odd.value}})
    else:
        return _store(on, name, odd, report)
    if not answer.ok:
        report.skip("the API server refuses it")
    return answer.ok


def _store(on: World, name: str, odd: Odd, report: Report) -> bool:
    table, _, kind = odd.place.partition(": ")
    statement = sql.SQL("UPDATE {} SET {} = %s::{} WHERE {}").format(
        sql.Identifier(table), sql.Identifier(odd.key), sql.SQL(kind), sql.SQL(_ROWS[table])
    )
    try:
        on.database.connection.execute(statement, [odd.value, name])
    except psycopg.Error:
        report.skip("the table itself refuses it")
        return False
    on.database.run(
        "INSERT INTO flag_schedule_status_outbox (schedule_id) SELECT schedule_id FROM flag_schedule_objects "
        "WHERE namespace = 'noisy' AND name = %s AND schedule_id IS NOT NULL",
        name,
    )
    return True


def _stop(on: World, name: str) -> str | None:
    answer = on.quiet.patch(name, {"spec": {"suspend": True}})
    assert answer.ok, answer.message
    if not until(lambda: on.rows.first(name, lambda row: row["suspended"]) is not None, _PATIENCE):
        return "another object's stop is lost"
    if not until(lambda: on.quiet.get(name).get("status", {}).get("phase") == "Suspended", _PATIENCE):
        return "another object's status is lost"
    return None


def _fate(on: World, name: str, odd: Odd, left: dict[str, Any]) -> str | None:
    """Check an odd object that was deleted. Returns: what is wrong, or None."""
    if name in left and odd.extreme != "one without an owner":
        return f"{odd}: is not gone"
    if (odd.place.partition(":")[0], odd.key) in _LINKS:
        return None
    open_rows = on.database.query(
        "SELECT FROM feature_flag_schedules AS s JOIN feature_flags AS f ON f.id = s.flag_id "
        "WHERE f.flag_key = %s AND s.status = 'pending'",
        name,
    )
    return f"{odd}: its plan is still there" if open_rows else None
