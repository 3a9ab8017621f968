"""Specs of FlagFreezes, good and bad, on which the CRD and the operator's own parser must agree.

What only the operator refuses (zones, dates that never come) is not here.
"""

from collections.abc import Mapping
from typing import Any, Final

from tests.cluster.spec_corpus import BAD_TIMES

Spec = dict[str, Any]

SHAPE: Final = "a window must have either from and until, or cron, for and timeZone"
TOGETHER: Final = "cron, for and timeZone must be set together"
LENGTH: Final = "for must be whole hours, minutes and seconds in this order, more than nothing and at most 8784h"
FIVE_FIELDS: Final = "cron must have the five fields minute, hour, day of month, month, day of week"
ENVIRONMENTS: Final = "environments must hold whole names"
NAMESPACES: Final = "namespaces must hold names of lower-case letters"
FLAGS: Final = "flagKeys must hold keys of letters"
REASON: Final = "reason must be one line of text"


def spec(**fields: Any) -> Spec:
    """Return a good spec with some fields replaced; a value of `...` leaves the field out."""
    return _without({"reason": "INC-4711: checkout is down"} | fields)


def once(**fields: Any) -> Spec:
    """Return a spec with one window that comes once, with some of its fields replaced."""
    times = {"from": "2035-12-19T16:00:00Z", "until": "2036-01-04T07:00:00Z"}
    return spec(windows=[_without(times | fields)])


def weekly(**fields: Any) -> Spec:
    """Return a spec with one window that recurs, with some of its fields replaced."""
    return spec(windows=[_without({"cron": "0 17 * * 5", "for": "63h", "timeZone": "Europe/Oslo"} | fields)])


def _without(fields: Spec) -> Spec:
    return {key: value for key, value in fields.items() if value is not ...}


GOOD: Final[Mapping[str, Spec]] = {
    "the stop button": spec(),
    "a holiday": once(),
    "each weekend": weekly(),
    "everything": spec(
        environments=["production", "Eu-1_a.b"],
        namespaces=["shop", "shop-*", "*"],
        flagKeys=["checkout-*", "Aa0._:/-", "*"],
        windows=[*once()["windows"], *weekly()["windows"]],
        allowSwitchOff=True,
    ),
    "longest everything": spec(
        reason="r" * 256,
        environments=[f"{number:02}".rjust(64, "e") for number in range(64)],
        namespaces=[f"{number:02}".rjust(63, "n") + "*" for number in range(64)],
        flagKeys=[f"{number:02}".rjust(128, "k") + "*" for number in range(64)],
        windows=[*weekly()["windows"]] * 32,
    ),
    "a reason in another script": spec(reason="Störung: kassen er nede 🚨"),
    "shortest length": weekly(**{"for": "1s"}),
    "hours, minutes and seconds": weekly(**{"for": "1h30m15s"}),
    "longest length": weekly(**{"for": "8784h"}),
    "one second": once(**{"from": "2035-01-01T09:00:00Z", "until": "2035-01-01T10:00:01+01:00"}),
}

# Each with a part of the sentence that a person gets to read.
BAD: Final[Mapping[str, tuple[Any, str]]] = {
    "no spec at all": (None, "spec: Required value"),
    "no reason": (spec(reason=...), "spec.reason: Required value"),
    "empty reason": (spec(reason=""), REASON),
    "blank reason": (spec(reason="  "), REASON),
    "reason of two lines": (spec(reason="one\ntwo"), REASON),
    "reason with a control character": (spec(reason="one\x1b[31m"), REASON),
    "reason too long": (spec(reason="r" * 257), "may not be more than 256"),
    "reason as a number": (spec(reason=4711), "must be of type string"),
    "unknown field": (spec(colour="red"), 'unknown field "spec.colour"'),
    "no environment": (spec(environments=[]), "should have at least 1 items"),
    "65 environments": (spec(environments=[f"e{n}" for n in range(65)]), "must have at most 64 items"),
    "environment twice": (spec(environments=["a", "a"]), "Duplicate value"),
    "pattern of environments": (spec(environments=["prod*"]), ENVIRONMENTS),
    "empty environment": (spec(environments=[""]), ENVIRONMENTS),
    "no namespace": (spec(namespaces=[]), "should have at least 1 items"),
    "65 namespaces": (spec(namespaces=[f"n{n}" for n in range(65)]), "must have at most 64 items"),
    "star in the middle of a namespace": (spec(namespaces=["a*b"]), NAMESPACES),
    "star first": (spec(namespaces=["*-prod"]), NAMESPACES),
    "namespace in capitals": (spec(namespaces=["Shop"]), NAMESPACES),
    "SQL's pattern in a namespace": (spec(namespaces=["shop%"]), NAMESPACES),
    "namespace too long": (spec(namespaces=["n" * 65]), "may not be more than 64"),
    "no flag": (spec(flagKeys=[]), "should have at least 1 items"),
    "65 flags": (spec(flagKeys=[f"f{n}" for n in range(65)]), "must have at most 64 items"),
    "star in the middle of a key": (spec(flagKeys=["a*b"]), FLAGS),
    "two stars": (spec(flagKeys=["a**"]), FLAGS),
    "SQL's pattern in a key": (spec(flagKeys=["checkout%"]), FLAGS),
    "key too long": (spec(flagKeys=["k" * 130]), "may not be more than 129"),
    "no windows": (spec(windows=[]), "should have at least 1 items"),
    "33 windows": (spec(windows=[*once()["windows"]] * 33), "must have at most 32 items"),
    "empty window": (spec(windows=[{}]), SHAPE),
    "both kinds of window": (once(cron="0 17 * * 5", timeZone="UTC", **{"for": "1h"}), SHAPE),
    "unknown field of a window": (once(colour="red"), 'unknown field "spec.windows[0].colour"'),
    "from without until": (once(until=...), "from and until must be set together"),
    "until without from": (once(**{"from": ...}), "from and until must be set together"),
    "until before from": (once(until="2035-12-19T15:59:59Z"), "until must be after from"),
    "until equal to from": (once(until="2035-12-19T17:00:00+01:00"), "until must be after from"),
    "cron without a length": (weekly(**{"for": ...}), TOGETHER),
    "cron without a zone": (weekly(timeZone=...), TOGETHER),
    "length without cron": (weekly(cron=...), TOGETHER),
    "macro": (weekly(cron="@daily"), "cron must not be a macro such as @daily"),
    "cron with a zone": (weekly(cron="TZ=UTC 0 17 * * 5"), "cron must not set a time zone"),
    "cron of six fields": (weekly(cron="0 0 17 * * 5"), FIVE_FIELDS),
    "day of month with day of week": (
        weekly(cron="0 0 13 * 5"),
        "cron must not set both day of month and day of week",
    ),
    "length of days": (weekly(**{"for": "2d"}), LENGTH),
    "length of minutes before hours": (weekly(**{"for": "30m1h"}), LENGTH),
    "no length": (weekly(**{"for": "0h"}), LENGTH),
    "empty length": (weekly(**{"for": ""}), LENGTH),
    "length too long": (weekly(**{"for": "8784h1s"}), LENGTH),
    "offset as a zone": (weekly(timeZone="+01:00"), "timeZone must be a name of the IANA database"),
    "switch as a string": (spec(allowSwitchOff="true"), "must be of type boolean"),
} | {f"from of {text!r}": (once(**{"from": text}), "from must be a real time with an offset") for text in BAD_TIMES}
