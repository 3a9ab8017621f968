"""Specs, good and bad, on which the CRD and the operator's own parser must agree.

Used by the unit test of the model and by the tests on the real API server.
"""

from collections.abc import Mapping
from typing import Any, Final

Spec = dict[str, Any]

TIME_MESSAGE: Final = "scheduledAt must be a real time with an offset"
KEY_MESSAGE: Final = "flagKey must start with a letter or digit"
ENVIRONMENT_MESSAGE: Final = "environment must start with a letter or digit"
EXPECT_MESSAGE: Final = "expect must name at least one of enabled, rolloutPercentage"
RETRY_MESSAGE: Final = "retry.initialSeconds (120 if left out) must not be above retry.maxSeconds"
UPDATES_MESSAGE: Final = "updates must set at least one of enabled, rolloutPercentage"


def spec(**fields: Any) -> Spec:
    """Return a good spec with some fields replaced; a value of `...` leaves the field out."""
    whole = {"flagKey": "checkout", "scheduledAt": "2035-01-01T09:00:00Z", "updates": {"enabled": True}} | fields
    return {key: value for key, value in whole.items() if value is not ...}


GOOD: Final[Mapping[str, Spec]] = {
    "the least": spec(),
    "everything": spec(
        environment="staging",
        updates={"enabled": False, "rolloutPercentage": 100},
        suspend=True,
        cancel=True,
        maxRetries=10,
        startingDeadlineSeconds=10,
        expect={"enabled": True, "rolloutPercentage": 5},
        onMismatch="Skip",
        retry={"initialSeconds": 10, "maxSeconds": 600},
    ),
    "expectation alone": spec(expect={"rolloutPercentage": 0}),
    "shortest pauses": spec(retry={"initialSeconds": 5, "maxSeconds": 5}),
    "longest pauses": spec(retry={"initialSeconds": 3600, "maxSeconds": 86400}),
    "default pauses": spec(retry={}),
    "lowest numbers": spec(updates={"rolloutPercentage": 0}, maxRetries=0),
    "longest deadline": spec(startingDeadlineSeconds=2147483647),
    "key of one character": spec(flagKey="9"),
    "key of every kind of character": spec(flagKey="Aa0._:/-"),
    "longest key": spec(flagKey="k" * 128),
    "environment of every kind of character": spec(environment="Eu-1_a.b"),
    "longest environment": spec(environment="e" * 64),
}

# Each with a part of the sentence that a person gets to read.
BAD: Final[Mapping[str, tuple[Any, str]]] = {
    "no key": (spec(flagKey=...), "spec.flagKey: Required value"),
    "no time": (spec(scheduledAt=...), "spec.scheduledAt: Required value"),
    "no updates": (spec(updates=...), "spec.updates: Required value"),
    "empty key": (spec(flagKey=""), KEY_MESSAGE),
    "key too long": (spec(flagKey="k" * 129), "may not be more than 128"),
    "key with a blank": (spec(flagKey="check out"), KEY_MESSAGE),
    "key with a hyphen first": (spec(flagKey="-checkout"), KEY_MESSAGE),
    "key with an umlaut": (spec(flagKey="prüfung"), KEY_MESSAGE),
    "key with a line feed": (spec(flagKey="checkout\n"), KEY_MESSAGE),
    "key as a number": (spec(flagKey=1), "must be of type string"),
    "empty environment": (spec(environment=""), ENVIRONMENT_MESSAGE),
    "environment with a slash": (spec(environment="eu/1"), ENVIRONMENT_MESSAGE),
    "environment too long": (spec(environment="e" * 65), "may not be more than 64"),
    "empty updates": (spec(updates={}), UPDATES_MESSAGE),
    "unknown update": (spec(updates={"colour": "red"}), 'unknown field "spec.updates.colour"'),
    "unknown update next to a known one": (
        spec(updates={"enabled": True, "colour": "red"}),
        'unknown field "spec.updates.colour"',
    ),
    "enabled as a string": (spec(updates={"enabled": "true"}), "must be of type boolean"),
    "enabled as a number": (spec(updates={"enabled": 1}), "must be of type boolean"),
    "percentage 101": (spec(updates={"rolloutPercentage": 101}), "less than or equal to 100"),
    "percentage -1": (spec(updates={"rolloutPercentage": -1}), "greater than or equal to 0"),
    "percentage 50.5": (spec(updates={"rolloutPercentage": 50.5}), "must be of type integer"),
    "percentage as a string": (spec(updates={"rolloutPercentage": "50"}), "must be of type integer"),
    "updates as a list": (spec(updates=[]), "must be of type object"),
    "suspend as a string": (spec(suspend="yes"), "must be of type boolean"),
    "cancel as a number": (spec(cancel=0), "must be of type boolean"),
    "empty expectation": (spec(expect={}), EXPECT_MESSAGE),
    "unknown expectation": (spec(expect={"colour": "red"}), 'unknown field "spec.expect.colour"'),
    "mismatch without expectation": (spec(onMismatch="Skip"), "onMismatch needs expect"),
    "unknown answer to a mismatch": (spec(expect={"enabled": True}, onMismatch="Hold"), "supported values"),
    "pause of 4 seconds": (spec(retry={"initialSeconds": 4}), "greater than or equal to 5"),
    "first pause above an hour": (
        spec(retry={"initialSeconds": 3601, "maxSeconds": 7200}),
        "less than or equal to 3600",
    ),
    "longest pause above a day": (spec(retry={"maxSeconds": 86401}), "less than or equal to 86400"),
    "first pause above the longest": (spec(retry={"initialSeconds": 20, "maxSeconds": 10}), RETRY_MESSAGE),
    "default pause above the longest": (spec(retry={"maxSeconds": 60}), RETRY_MESSAGE),
    "11 retries": (spec(maxRetries=11), "less than or equal to 10"),
    "-1 retries": (spec(maxRetries=-1), "greater than or equal to 0"),
    "half a retry": (spec(maxRetries=0.5), "must be of type integer"),
    "deadline of 9 seconds": (spec(startingDeadlineSeconds=9), "greater than or equal to 10"),
    "deadline too long": (spec(startingDeadlineSeconds=2147483648), "less than or equal to"),
    "unknown field": (spec(timeZone="Europe/Berlin"), 'unknown field "spec.timeZone"'),
    "no spec at all": (None, "spec: Required value"),
}

GOOD_TIMES: Final = (
    "2035-01-01T09:00:00Z",
    "2035-01-01T09:00:00+00:00",
    "2035-01-01T09:00:00-00:00",
    "2035-01-01T09:00:00+05:30",
    "2035-01-01T09:00:00+23:59",
    "2035-01-01T09:00:00.5Z",
    "2035-01-01T09:00:00.123456789Z",  # cut to microseconds, which is what Postgres keeps
    "2036-02-29T00:00:00Z",
    "2099-12-31T23:59:59Z",
    "2100-01-01T00:00:00+01:00",  # still 2099 in UTC
)

BAD_TIMES: Final = (
    "2035-02-31T09:00:00Z",
    "2035-02-29T09:00:00Z",
    "2035-13-01T09:00:00Z",
    "2035-01-01t09:00:00Z",
    "2035-01-01T09:00:00z",
    "2035-01-01T09:00:00",
    "2035-01-01T09:00:00+99:99",
    "2035-01-01T09:00:00+24:00",
    "2035-01-01T09:00:00+0100",
    "2035-01-01T09:00:00+01",
    "2035-01-01T09:00:60Z",
    "2035-01-01T24:00:01Z",
    "2035-01-01T09:00Z",
    "2035-01-01T9:00:00Z",
    "2035-01-01T09:00:00,5Z",
    "2035-01-01T09:00:00.Z",
    "2035-01-01 09:00:00Z",
    "2035-01-01",
    "20350101T090000Z",
    "2035-W01-1T09:00:00Z",
    "tomorrow",
    "",
    "0000-01-01T00:00:00Z",
    "1999-12-31T23:59:59Z",
    "2100-01-01T00:00:00Z",
    "2099-12-31T23:59:59-01:00",  # already 2100 in UTC
    "9999-12-31T23:59:59-14:00",
    "12035-01-01T09:00:00Z",
    "٢٠٣٥-01-01T09:00:00Z",
    "2035-01-01T09:00:00Z\n",
)
