"""What is sent to the webhook: events of changes as CloudEvents, signed as Standard Webhooks says.

Called by the settings and by the notifier. It must not know how a notice is stored or sent.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote, urlsplit
from uuid import UUID

_TYPE: Final = "io.flagschedule.change"
_KEY_PREFIX: Final = "whsec_"
_SHORTEST_KEY, _LONGEST_KEY = 24, 64  # bytes, as Standard Webhooks says
_MOST_KEYS: Final = 5
_BAD_URL: Final = "must look like https://host/path; put the address of your receiver into the Secret, and nothing else"
_BAD_KEYS: Final = (
    f"must be {_KEY_PREFIX} and the base64 of 24 to 64 random bytes; make one with "
    f'`echo "{_KEY_PREFIX}$(openssl rand -base64 32)"`; while you change it, name the new one and the old one, with a '
    "space between them"
)


class NoticeEvent(StrEnum):
    """What happened to a change."""

    APPLIED = "applied"  # the flag was changed; of a part of the values, if later schedules had set the others
    ALREADY_SET = "alreadyset"  # the flag had all values before
    SUPERSEDED = "superseded"  # later schedules had set all of its values, so it changed nothing
    SKIPPED = "skipped"  # the flag had other values than expected, or the window's start was not made
    RETRYING = "retrying"  # an attempt failed, and another one will be made
    FAILED = "failed"  # it will not be made without an edit or a request to retry
    EXPIRED = "expired"  # it was too late for its first attempt
    FROZEN = "frozen"  # it is due, and a freeze holds it


DEFAULT_EVENTS: Final = (NoticeEvent.APPLIED, NoticeEvent.FAILED, NoticeEvent.EXPIRED, NoticeEvent.FROZEN)


class NoticeOutcome(StrEnum):
    """What became of a try to deliver a notice, or of a notice."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One event of one change, as it waits in the outbox."""

    id: UUID
    event: NoticeEvent
    subject: str
    happened_at: datetime
    data: Mapping[str, Any]
    failures: int = 0

    def body(self, cluster: str) -> bytes:
        """Return the CloudEvent, in the structured JSON format. Each try sends the same bytes."""
        event = {
            "specversion": "1.0",
            "id": str(self.id),
            "source": f"/flagschedule/{quote(cluster, safe='')}",
            "type": f"{_TYPE}.{self.event}",
            "subject": self.subject,
            "time": self.happened_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "data": self.data,
        }
        return json.dumps(event, separators=(",", ":")).encode()


@dataclass(frozen=True, kw_only=True, repr=False)
class Webhook:
    """Where notices go and what they are signed with; both are secret."""

    url: str
    keys: Sequence[bytes]

    def headers(self, notice_id: UUID, at: datetime, body: bytes) -> dict[str, str]:
        """Return the headers of one try; of several keys each makes a signature, while receivers change theirs."""
        timestamp = str(int(at.timestamp()))
        signed = f"{notice_id}.{timestamp}.".encode() + body
        signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in self.keys)
        return {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": str(notice_id),
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }


def parse_url(text: str) -> str:
    """Return the URL of a receiver.

    Raises:
        ValueError: it cannot be one; the sentence says what it must look like, and shows nothing of it.
    """
    try:
        parts = urlsplit(text)
        is_fit = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and text.isprintable()
    except ValueError:
        is_fit = False
    if not is_fit or " " in text:
        raise ValueError(_BAD_URL)
    return text


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Return the keys that a text names, separated by spaces or lines.

    Raises:
        ValueError: with a sentence that says how to make one, and shows nothing of the text.
    """
    keys = tuple(_parse_key(word) for word in text.split())
    if not 0 < len(keys) <= _MOST_KEYS:
        raise ValueError(_BAD_KEYS)
    return keys


def _parse_key(word: str) -> bytes:
    encoded = word.removeprefix(_KEY_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if encoded == word or not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise ValueError(_BAD_KEYS)
    return key
