"""Parsing of the object: strict, with a sentence for every fault."""

import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagschedule.domain.schedule import RETRY_ANNOTATION, FlagSchedule, Spec
from flagschedule.domain.times import parse_time
from tests.unit.builders import body, obj


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-12-01T09:00:00Z", datetime(2026, 12, 1, 9, tzinfo=UTC)),
        ("2026-12-01T09:00:00.5Z", datetime(2026, 12, 1, 9, microsecond=500_000, tzinfo=UTC)),
        ("2026-12-01T09:00:00.123456789Z", datetime(2026, 12, 1, 9, microsecond=123_456, tzinfo=UTC)),
        ("2026-12-01T09:00:00+05:30", datetime(2026, 12, 1, 3, 30, tzinfo=UTC)),
        ("2028-02-29T00:00:00-14:00", datetime(2028, 2, 29, 14, tzinfo=UTC)),
    ],
)
def test_a_time_with_offset_is_an_instant(text: str, instant: datetime) -> None:
    """Every RFC 3339 time is read as the same UTC instant, cut to microseconds."""
    assert parse_time(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-01T09:00:00",
        "2026-12-01 09:00:00Z",
        "2026-12-01t09:00:00z",
        "20261201T090000Z",
        "2026-W49-2T09:00:00Z",
        "2026-02-31T09:00:00Z",
        "2026-12-01T09:00:60Z",
        "2026-12-01T24:00:01Z",
        "2026-12-01T09:00:00+99:99",
        "0000-01-01T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "2100-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "٢٠٢٦-12-01T09:00:00Z",
        "",
        1764579600,
        None,
    ],
)
def test_anything_else_is_refused(text: object) -> None:
    """A time without offset, with another shape, or outside of the calendar or of 2000-2099 is refused."""
    with pytest.raises(ValueError, match=r"must|calendar"):
        parse_time(text)


@given(
    st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30)),  # noqa: DTZ001 -- the offset is drawn next
    st.integers(-14 * 60, 14 * 60),
)
def test_every_offset_means_the_same_instant(local: datetime, minutes: int) -> None:
    """A written time with any offset parses to the instant that it names."""
    instant = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))

    assert parse_time(instant.isoformat()) == instant


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"updates": {}}, "spec.updates: must set enabled, rolloutPercentage or both"),
        ({"updates": {"enabled": "yes"}}, "spec.updates.enabled"),
        ({"updates": {"enabled": 1}}, "spec.updates.enabled"),
        ({"updates": {"rolloutPercentage": 101}}, "spec.updates.rolloutPercentage"),
        ({"updates": {"rolloutPercentage": -1}}, "spec.updates.rolloutPercentage"),
        ({"updates": {"rolloutPercentage": 50.5}}, "spec.updates.rolloutPercentage"),
        ({"updates": {"colour": "red"}}, "spec.updates.colour"),
        ({"flagKey": "-x"}, "spec.flagKey"),
        ({"flagKey": "a b"}, "spec.flagKey"),
        ({"flagKey": "a\n"}, "spec.flagKey"),
        ({"flagKey": "x" * 129}, "spec.flagKey"),
        ({"environment": ""}, "spec.environment"),
        ({"maxRetries": 11}, "spec.maxRetries"),
        ({"startingDeadlineSeconds": 9}, "spec.startingDeadlineSeconds"),
        ({"suspend": "true"}, "spec.suspend"),
        ({"scheduledAt": "tomorrow"}, "spec.scheduledAt: must be an RFC 3339 time"),
        ({"unknown": 1}, "spec.unknown"),
    ],
)
def test_a_fault_names_its_field(fields: dict[str, Any], fault: str) -> None:
    """A spec that cannot be used is no exception: the object carries a sentence that names the field."""
    found = obj(**fields)

    assert found.spec is None
    assert fault in (found.fault or "")


@given(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.text())
    )
)
def test_no_spec_can_break_the_parser(spec: object) -> None:
    """Reading an object raises nothing for any content of spec."""
    found = FlagSchedule.from_body({**body(), "spec": spec})

    assert found.spec is None
    assert found.fault


@given(
    st.from_regex(
        r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", fullmatch=True, alphabet=string.ascii_letters + string.digits + "._:/-"
    ),
    st.integers(0, 100),
    st.booleans(),
)
def test_what_the_rules_allow_is_read_unchanged(key: str, rollout: int, enabled: bool) -> None:
    """Every allowed key and every pair of updates comes through as written."""
    spec = obj(flagKey=key, updates={"enabled": enabled, "rolloutPercentage": rollout}).spec

    assert spec is not None
    assert (spec.flag_key, spec.updates.as_json()) == (key, {"enabled": enabled, "rolloutPercentage": rollout})


def test_the_default_environment_is_no_other_change() -> None:
    """Writing the default environment out is the same change and the same arming."""
    implicit, explicit = _spec(), _spec(environment="production")

    assert implicit.change_hash == explicit.change_hash
    assert implicit.arming_hash == explicit.arming_hash


def test_the_same_instant_written_otherwise_is_no_other_change() -> None:
    """Another offset for the same instant is no edit."""
    assert (
        _spec(scheduledAt="2026-12-01T09:00:00Z").arming_hash
        == _spec(scheduledAt="2026-12-01T10:00:00+01:00").arming_hash
    )


@pytest.mark.parametrize(
    "fields",
    [{"maxRetries": 5}, {"startingDeadlineSeconds": 60}, {"updates": {"enabled": False}}, {"flagKey": "other"}],
)
def test_what_arms_again_changes_the_arming_hash(fields: dict[str, Any]) -> None:
    """Each field whose edit arms a failed schedule again changes the hash that shows the edit."""
    assert _spec(**fields).arming_hash != _spec().arming_hash


@pytest.mark.parametrize("fields", [{"suspend": True}, {"cancel": True}])
def test_suspend_and_cancel_never_arm(fields: dict[str, Any]) -> None:
    """Suspending and cancelling are no edits of the plan."""
    assert _spec(**fields).arming_hash == _spec().arming_hash


@given(st.text(st.characters(), max_size=300))
def test_any_retry_request_can_be_stored_anywhere(request: str) -> None:
    """A short line of ASCII is kept as it is; else a digest, also for databases that are not in UTF-8."""
    kept = obj(annotations={RETRY_ANNOTATION: request}).retry_request

    assert kept is not None
    assert kept.isascii()
    assert kept.isprintable()
    assert len(kept) <= 128
    assert (kept == request) == (len(request) <= 128 and request.isascii() and request.isprintable())


def _spec(**fields: Any) -> Spec:
    spec = obj(**fields).spec
    assert spec is not None
    return spec


def test_an_upgrade_is_no_edit() -> None:
    """A spec without the newer fields keeps the hash that it had before they existed; with any of them it has another.

    The hash was computed by the version that did not know them.
    """
    plain = {"flagKey": "checkout", "scheduledAt": "2035-01-01T09:00:00Z", "updates": {"enabled": True}}
    newer = ({"expect": {"enabled": False}}, {"retry": {"maxSeconds": 600}})

    before = Spec.model_validate(plain).arming_hash

    assert before == "076eb9b413893f205ed1768011ff459d09b34c845adb5bc603b3311527d147d2"
    assert len({before, *(Spec.model_validate(plain | fields).arming_hash for fields in newer)}) == 3
