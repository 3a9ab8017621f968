"""Notices: CloudEvents that are signed as Standard Webhooks says, and settings that are refused in a sentence."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from flagschedule import settings
from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError
from flagschedule.domain.notices import Notice, NoticeEvent, Webhook, parse_keys

URL = "https://hooks.example/services/hunter2"
OLD, NEW = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
NOTICE = Notice(
    id=UUID("00000000-0000-4000-8000-000000000001"),
    event=NoticeEvent.APPLIED,
    subject="production/checkout-v2",
    happened_at=datetime(2026, 12, 1, 9, 0, 0, 184000, tzinfo=UTC),
    data={"flagKey": "checkout-v2"},
)


def test_a_notice_is_a_cloud_event() -> None:
    """It has what CloudEvents 1.0 requires; its source is a URI reference for any name of a cluster."""
    assert json.loads(NOTICE.body("eu west/1")) == {
        "specversion": "1.0",
        "id": "00000000-0000-4000-8000-000000000001",
        "source": "/flagschedule/eu%20west%2F1",
        "type": "io.flagschedule.change.applied",
        "subject": "production/checkout-v2",
        "time": "2026-12-01T09:00:00.184000Z",
        "datacontenttype": "application/json",
        "data": {"flagKey": "checkout-v2"},
    }


def test_each_key_has_a_signature_that_the_public_library_verifies() -> None:
    """While keys are changed a receiver with either of them verifies the body; one with another key does not."""
    body = replace(NOTICE, data={"name": "ü\u2028"}).body("default")
    headers = Webhook(url=URL, keys=parse_keys(f"{NEW} {OLD}\n")).headers(NOTICE.id, datetime.now(UTC), body)

    assert headers["webhook-signature"].count("v1,") == 2
    for key in (OLD, NEW):
        assert Verifier(key).verify(body, headers)["subject"] == NOTICE.subject
    for key, changed in ((f"whsec_{base64.b64encode(bytes(32)).decode()}", body), (NEW, body + b" ")):
        with pytest.raises(WebhookVerificationError):
            Verifier(key).verify(changed, headers)


def test_no_secret_is_in_the_text_of_a_webhook() -> None:
    """What an error or a log line could show of it holds neither URL nor key."""
    assert "hunter2" not in repr(Webhook(url=URL, keys=(b"hunter2",)))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The settings that a webhook needs."""
    for name, value in {"DATABASE_URL": "postgresql://db/app", "WEBHOOK_URL": URL, "WEBHOOK_SIGNING_KEYS": NEW}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("WEBHOOK_URL", "hooks.example/hunter2", "must look like https://"),
        ("WEBHOOK_URL", "ftp://hooks.example/hunter2", "must look like https://"),
        ("WEBHOOK_URL", "https://", "must look like https://"),
        ("WEBHOOK_URL", "https://hooks.example:port/hunter2", "must look like https://"),
        ("WEBHOOK_URL", "https://[hunter2", "must look like https://"),
        ("WEBHOOK_URL", "https://hooks.example/hunter2 https://two.example", "must look like https://"),
        ("WEBHOOK_SIGNING_KEYS", "hunter2", "openssl rand"),
        ("WEBHOOK_SIGNING_KEYS", "whsec_hunter2", "openssl rand"),
        ("WEBHOOK_SIGNING_KEYS", f"{NEW} hunter2", "openssl rand"),
        ("WEBHOOK_SIGNING_KEYS", "", "openssl rand"),
        ("FLAG_SCHEDULE_WEBHOOK_EVENTS", "applied,hunter2", "'superseded'"),
        ("FLAG_SCHEDULE_WEBHOOK_EVENTS", ",", "at least 1"),
        ("WEBHOOK_URL_FILE", "/nowhere", "both set"),
    ],
)
def test_what_cannot_be_right_is_refused_at_the_start(
    environment: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    """The sentence names the variable and what to do, and nothing of its value."""
    environment.setenv(name, value)

    with pytest.raises(ConfigurationError) as refusal:
        settings.load()

    (fault,) = refusal.value.faults
    assert name in fault
    assert says in fault
    assert "hunter2" not in fault


def test_without_a_url_there_is_no_webhook(environment: pytest.MonkeyPatch) -> None:
    """An empty variable, as an empty key of a Secret is, turns notices off."""
    environment.setenv("WEBHOOK_URL", "")

    assert not settings.load().has_webhook


def test_files_are_read_again(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A URL or a key that is rotated in a mounted Secret needs no restart; what is wrong by then has a sentence."""
    url, keys = tmp_path / "url", tmp_path / "keys"
    url.write_text(f"{URL}\n")
    keys.write_text(OLD)
    for name, path in (("WEBHOOK_URL", url), ("WEBHOOK_SIGNING_KEYS", keys)):
        environment.delenv(name)
        environment.setenv(f"{name}_FILE", str(path))
    loaded = settings.load()
    first = loaded.webhook()
    keys.write_text(f"{NEW}\n{OLD}\n")

    assert (first.url, first.keys) == (URL, parse_keys(OLD))
    assert loaded.webhook().keys == parse_keys(f"{NEW} {OLD}")
    url.write_text("hunter2")
    with pytest.raises(DependencyUnavailableError, match="must look like") as refusal:
        loaded.webhook()
    assert "hunter2" not in str(refusal.value)


def test_an_empty_file_is_a_fault(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who names a file wants a webhook."""
    (tmp_path / "url").write_text("\n")
    environment.delenv("WEBHOOK_URL")
    environment.setenv("WEBHOOK_URL_FILE", str(tmp_path / "url"))

    with pytest.raises(ConfigurationError, match="WEBHOOK_URL_FILE: the file is empty"):
        settings.load()
