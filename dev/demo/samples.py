"""The FlagSchedules of the demo, and when they are due. Called by the story."""

from datetime import UTC, datetime, timedelta
from typing import Final

LAUNCH, MISSING, DELETED = "checkout-v2-launch", "new-search-launch", "banner-off"
RAMP, FREEZE = "new-search-ramp", "incident"
LAUNCH_FLAG, MISSING_FLAG, DELETED_FLAG = "checkout-v2", "new-search", "winter-banner"

_SOON: Final = timedelta(seconds=5)
_LATER: Final = timedelta(hours=1)


def yaml(name: str, flag: str, scheduled_at: str, updates: str) -> str:
    """Return a FlagSchedule as a person would write it."""
    return f"""\
apiVersion: flagschedule.io/v1alpha1
kind: FlagSchedule
metadata:
  name: {name}
spec:
  flagKey: {flag}
  scheduledAt: "{scheduled_at}"
  updates: {updates}
"""


def ramp(now: datetime) -> str:
    """Return a FlagPlan of three steps, each some seconds after the one before was made."""
    return f"""\
apiVersion: flagschedule.io/v1alpha1
kind: FlagPlan
metadata:
  name: {RAMP}
spec:
  steps:
    - name: five
      at: "{clock(soon(now))}"
      changes: [{{flagKey: {MISSING_FLAG}, updates: {{rolloutPercentage: 5}}}}]
    - name: half
      after: 5s
      changes: [{{flagKey: {MISSING_FLAG}, expect: {{rolloutPercentage: 5}}, updates: {{rolloutPercentage: 50}}}}]
    - name: all
      after: 5s
      changes: [{{flagKey: {MISSING_FLAG}, expect: {{rolloutPercentage: 50}}, updates: {{rolloutPercentage: 100}}}}]
"""


def freeze() -> str:
    """Return a FlagFreeze that holds all changes until it is deleted."""
    return f"""\
apiVersion: flagschedule.io/v1alpha1
kind: FlagFreeze
metadata:
  name: {FREEZE}
spec:
  reason: "INC-4711: the search is slow"
"""


def three(now: datetime) -> dict[str, str]:
    """Name and text: one due soon, one for a flag that is missing, one that will be deleted before its time."""
    due, later = clock(soon(now)), clock(now + _LATER)
    return {
        LAUNCH: yaml(LAUNCH, LAUNCH_FLAG, due, "{enabled: true, rolloutPercentage: 25}"),
        MISSING: yaml(MISSING, MISSING_FLAG, due, "{enabled: true}"),
        DELETED: yaml(DELETED, DELETED_FLAG, later, "{enabled: false}"),
    }


def soon(now: datetime) -> datetime:
    """Return the time a few seconds from now."""
    return (now + _SOON).replace(microsecond=0)


def next_minute(now: datetime) -> datetime:
    """Return when the CronJob starts next."""
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def clock(instant: datetime) -> str:
    """Return the time as it is written in YAML."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
