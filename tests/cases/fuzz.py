"""Properties of all that others write: keys, names, updates, URLs. `python -m tests.cases fuzz --cases 10000`.

Parsers raise nothing but their own error, no message shows what it should not, and one log line is one JSON object.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import quote

import hypothesis
import structlog
from hypothesis import strategies as st

from flagschedule import logs, settings
from flagschedule.adapters.postgres import connection
from flagschedule.adapters.redis import RedisCache
from flagschedule.domain import decision, status
from flagschedule.domain.decision import Decision, Facts, Rules
from flagschedule.domain.errors import ConfigurationError
from flagschedule.domain.outcome import Snapshot
from flagschedule.domain.schedule import FlagSchedule
from tests.cases import programs
from tests.cases.scene import OddScene
from tests.unit.builders import FLAG_ID, NOW, body

SECRET: Final = "hunter2"  # noqa: S105 -- what must not be shown
_RULES: Final = Rules(max_retries=3, max_lateness=timedelta(minutes=10))

# Text that Postgres and JSON can hold: no NUL, no half of a pair.
_text: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
_scalars: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text
)
_json: Final = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3), max_leaves=8
)
_percentages: Final = st.integers(-2, 103) | st.sampled_from([0.0, -0.0, 1e1, 5.0, 5.5, 1e2, 1e-9, 2**31, 1e300])
_updates: Final = (
    st.dictionaries(st.sampled_from(["enabled", "rolloutPercentage"]), _scalars | _percentages, max_size=2)
    | st.fixed_dictionaries({}, optional={"enabled": st.booleans(), "rolloutPercentage": _percentages})
    | _json
)
_times: Final = st.sampled_from(
    [
        "2035-01-01T09:00:00Z",
        "2026-12-01T08:00:00+01:00",
        "2035-02-30T00:00:00Z",
        "٢٠٣٥-01-01T09:00:00Z",
        "9999-12-31T23:59:60Z",
    ]
)
_specs: Final = (
    st.fixed_dictionaries(
        {
            "flagKey": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,130}", fullmatch=True) | _text,
            "scheduledAt": _times | _text,
        },
        optional={
            "updates": _updates,
            "environment": _text,
            "suspend": _scalars,
            "cancel": _scalars,
            "maxRetries": _scalars,
            "startingDeadlineSeconds": _scalars,
        },
    )
    | _json
)
_names: Final = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?(\.[a-z0-9]{1,10}){0,3}", fullmatch=True)
_conditions: Final = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Ready", "Applied", "Stalled"]) | _text,
            "status": st.sampled_from(["True", "False", "Unknown"]),
            "lastTransitionTime": _times | _text,
            "reason": st.sampled_from(["Applied", "EditTooLate", "Replayed", "Expired"]) | _text,
            "message": _text,
        },
        optional={"observedGeneration": st.integers(0, 2**63 - 1)},
    ),
    max_size=3,
)
_statuses: Final = st.fixed_dictionaries(
    {"observedGeneration": st.integers(-(2**63), 2**63 - 1)},
    optional={
        "scheduleId": _text,
        "phase": st.sampled_from(["Applied", "Pending", "Failed"]) | _text,
        "change": _text,
        "appliedAt": _times | _text,
        "retryCount": st.integers(-(2**31), 2**31 - 1),
        "lastError": _text,
        "lastHandledRetryRequest": _text,
        "conditions": _conditions,
    },
)


def an_object_is_read_with_any_content(given: tuple[Any, str, dict[str, str], dict[str, Any], bool]) -> None:
    """Check that reading, deciding and computing the status never raise, and that deciding twice changes nothing."""
    spec, name, annotations, said, deleting = given
    raw = body(status=said, annotations=annotations, deleting=deleting)
    raw["spec"] = spec
    raw["metadata"]["name"] = name
    obj = FlagSchedule.from_body(raw)
    assert (obj.spec is None) != (obj.fault is None)
    facts = Facts(record=None, row=None, flag_id=FLAG_ID, replay=None, now=NOW)
    first = _again(obj, decision.decide(obj, facts, _RULES))
    assert _again(obj, first) == first
    written = status.compute(obj, Snapshot(record=first.record, row=first.row, now=NOW))
    json.dumps(written and written.as_json())


def _again(obj: FlagSchedule, before: Decision) -> Decision:
    facts = Facts(record=before.record, row=before.row, flag_id=FLAG_ID, replay=None, now=NOW)
    return decision.decide(obj, facts, _RULES)


def a_url_is_accepted_or_refused_without_showing_it(given: tuple[str, str]) -> None:
    """Check that settings and adapters raise their own error, which shows no part of a URL."""
    database, cache = given
    environment = {"DATABASE_URL": database, "REDIS_URL": cache}
    with patch.dict(os.environ, {}, clear=True):
        os.environ.update({name: value for name, value in environment.items() if "\0" not in value})
        try:
            loaded = settings.load()
            _refuse_only(lambda: connection.parameters(loaded.database_url.get_secret_value(), "fuzz"))
            if loaded.redis_url:
                address = loaded.redis_url.get_secret_value()
                _refuse_only(lambda: RedisCache(address))
            assert SECRET not in repr(loaded)
        except ConfigurationError as error:
            _shows_nothing(error)


def _refuse_only(connect: Callable[[], object]) -> None:
    try:
        connect()
    except ConfigurationError as error:
        _shows_nothing(error)


def _shows_nothing(error: ConfigurationError) -> None:
    assert SECRET not in str(error)
    assert error.__suppress_context__ or error.__context__ is None


def a_log_line_is_one_object(given: tuple[str, Mapping[str, Any]]) -> None:
    """By either way of logging, and for every reader's idea of a line."""
    event, fields = given
    said = StringIO()
    with redirect_stderr(said), programs.logging_restored():
        logs.configure(style="json")
        structlog.get_logger().info(event, **{f"f{name}": value for name, value in fields.items()})
        logs.write([{"event": event, "level": "info", **fields, "event_": event}])
    lines = said.getvalue().splitlines()
    assert len(lines) == 2
    assert all(json.loads(line)["event"] == event for line in lines)


def a_program_refuses_without_showing_the_url(given: tuple[str, str, str]) -> None:
    """Check a program without a database: one line, exit code 2 or 3, and no user, password or database name."""
    user, password, name = (quote(part, safe="") for part in given)
    url = f"postgresql://{user}:{password}{SECRET}@127.0.0.1:1/{name}{SECRET}"
    for program in ("process", "cleanup", "migrate"):
        run = programs.run(program, url)
        assert run.code in {2, 3}, run.stderr
        assert SECRET not in run.stderr
        assert "Traceback" not in run.stderr


def updates_are_applied_or_fail(scene: OddScene, given: list[tuple[str, Any]]) -> None:
    """Check that each row has the outcome of its own updates, and is logged in one line."""
    scene.begin("finished")
    keys = {f"{place}{key}": update for place, (key, update) in enumerate(given)}
    with scene.database.connection.cursor() as cursor:
        cursor.executemany(
            "WITH made AS (INSERT INTO feature_flags (flag_key) VALUES (%s) RETURNING id) "
            "INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates) "
            "SELECT id, now() - interval '1 minute', %s FROM made",
            [(key, json.dumps(update)) for key, update in keys.items()],
        )
    run = programs.run("process", scene.url)
    assert run.fault() is None, run.fault()
    logged = {line["flagKey"] for line in run.lines if "flagKey" in line}
    assert set(keys) <= logged
    for found in scene.database.query(
        "SELECT f.flag_key, f.enabled, f.rollout_percentage, s.status, s.reason "
        "FROM feature_flag_schedules AS s JOIN feature_flags AS f ON f.id = s.flag_id"
    ):
        if found["flag_key"] in keys:
            update = keys[found["flag_key"]]
            if _is_good(update):
                wanted = (update.get("enabled", False), int(update.get("rolloutPercentage", 0)), "applied", "Applied")
            else:
                wanted = (False, 0, "failed", "InvalidUpdates")
            seen = (found["enabled"], found["rollout_percentage"], found["status"], found["reason"])
            assert seen == wanted, (update, seen)


def _is_good(update: Any) -> bool:
    if not isinstance(update, dict) or not update or set(update) - {"enabled", "rolloutPercentage"}:
        return False
    percentage = update.get("rolloutPercentage", 0)
    return isinstance(update.get("enabled", True), bool) and (
        isinstance(percentage, int | float)
        and not isinstance(percentage, bool)
        and 0 <= percentage <= 100
        and percentage == int(percentage)
    )


# What an environment variable can hold: bytes that are no UTF-8 come as the upper halves of pairs.
_part: Final = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12) | st.binary(
    max_size=8
).map(lambda part: part.replace(b"\0", b"").decode(errors="surrogateescape"))
_hosts: Final = st.sampled_from(["db", "127.0.0.1", "[::1]", "[::1", "", "a,b", "%2Fvar%2Frun"]) | _part
_ports: Final = st.sampled_from(["", ":5432", ":0", ":99999", ":x", ":-1"])
_options: Final = st.sampled_from(
    ["", "?", "?sslmode=require", "?sslmode=x", "?x=y", "?connect_timeout=x", "?db=x", "?max_connections=x", "#x", "?="]
)


def _urls(schemes: list[str]) -> st.SearchStrategy[str]:
    return st.builds(
        "{}{}:{}{}@{}{}/{}{}".format,
        st.sampled_from(schemes),
        _part,
        st.just(SECRET),
        _part,
        _hosts,
        _ports,
        _part,
        _options,
    ) | st.builds("{}{}".format, st.sampled_from(schemes), _part)


@dataclass(frozen=True)
class Property:
    """What must hold, for what; `weight` is how many cases of the whole are its.

    `many` says that one example holds several cases.
    """

    check: Callable[..., None]
    strategy: st.SearchStrategy[Any]
    weight: float
    with_database: bool = False
    many: int = 1

    @property
    def name(self) -> str:
        """A sentence."""
        return self.check.__name__.replace("_", " ")

    def run(self, number: int, seed: int, scene: OddScene | None) -> None:
        """Look for a counterexample.

        Raises:
            AssertionError: found one; hypothesis has printed it.
        """
        check = (lambda given: self.check(scene, given)) if self.with_database else self.check
        tried = hypothesis.given(self.strategy)(check)
        tried = hypothesis.seed(seed)(tried)
        hypothesis.settings(
            max_examples=max(1, number // self.many),
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )(tried)()


PROPERTIES: Final = (
    Property(
        an_object_is_read_with_any_content,
        st.tuples(
            _specs,
            _names,
            st.dictionaries(st.sampled_from(["flagschedule.io/retry-requested-at", "other"]), _text, max_size=2),
            _statuses,
            st.booleans(),
        ),
        0.35,
    ),
    Property(
        a_url_is_accepted_or_refused_without_showing_it,
        st.tuples(
            _urls(["postgresql://", "postgres://", "postgresql:", "mysql://", ""]),
            _urls(["redis://", "rediss://", "unix://", "redis:", ""]),
        ),
        0.3,
    ),
    Property(
        a_log_line_is_one_object,
        st.tuples(_text, st.dictionaries(st.sampled_from(["flagKey", "error", "name"]), _json, max_size=3)),
        0.15,
    ),
    Property(a_program_refuses_without_showing_the_url, st.tuples(_text, _text, _text), 0.01),
    Property(
        updates_are_applied_or_fail,
        st.lists(st.tuples(_text, _updates), min_size=1, max_size=20),
        0.19,
        with_database=True,
        many=10,
    ),
)


def failure(of: Property, number: int, seed: int, scene: OddScene | None) -> str | None:
    """Return the counterexample as one text, or None."""
    said = StringIO()
    with redirect_stderr(said):
        try:
            of.run(number, seed, scene)
        except BaseException as error:  # a group, where hypothesis found several
            if isinstance(error, KeyboardInterrupt):
                raise
            notes = "\n".join(getattr(error, "__notes__", []))
            with suppress(AttributeError):
                notes += "".join(f"\n{each!r} {getattr(each, '__notes__', '')}" for each in error.exceptions)  # type: ignore[attr-defined]
            return f"{type(error).__name__}: {error}\n{notes}"[:3000]
    return None
