"""Specs of FlagPlans, good and bad, on which the CRD and the operator's own parser must agree.

What only the operator refuses (zones, dates that never come, windows that overlap) is not here.
"""

from collections.abc import Mapping
from typing import Any, Final

from tests.cluster.spec_corpus import BAD_TIMES, RETRY_MESSAGE

Spec = dict[str, Any]

AT: Final = "2035-01-12T09:00:00Z"
FIVE_FIELDS: Final = "cron must have the five fields minute, hour, day of month, month, day of week"
AFTER_MESSAGE: Final = "after must be whole hours, minutes and seconds in this order, at most 8784h"
LOCAL_UNTIL: Final = 'until of a step with cron must be a local time from "00:00" to "23:59"'
ZONE_MESSAGE: Final = "timeZone must be a name of the IANA database"
DATES_MESSAGE: Final = "exceptDates must hold real dates of the years 2000 to 2099"
NAME_MESSAGE: Final = "the name of a step must hold only lower-case letters, digits and hyphens"
ONE_OF: Final = "a step must have exactly one of cron, at and after"


def change(**fields: Any) -> Spec:
    """Return a good change with some fields replaced; a value of `...` leaves the field out."""
    return _without({"flagKey": "checkout", "updates": {"enabled": True}} | fields)


def step(**fields: Any) -> Spec:
    """Return a good step with `at`, with some fields replaced."""
    timed = {} if {"cron", "after"} & fields.keys() else {"at": AT}
    return _without({"name": "first", **timed, "changes": [change()]} | fields)


def chain(*steps: Spec, **fields: Any) -> Spec:
    """Return a plan that runs once; its default is one step with `at`."""
    return _without({"steps": list(steps) or [step()]} | fields)


def recurring(*steps: Spec, **fields: Any) -> Spec:
    """Return a plan that recurs; its default is one step with `cron`."""
    return _without({"timeZone": "Europe/Oslo", "steps": list(steps) or [step(cron="0 9 * * 1-5")]} | fields)


def window(**fields: Any) -> Spec:
    """Return a step with `cron` and `until`, with some fields replaced."""
    whole = {"cron": "0 9 * * 1-5", "until": "17:00", "changes": [change(then={"enabled": False})]}
    return step(**whole | fields)


def _without(fields: Spec) -> Spec:
    return {key: value for key, value in fields.items() if value is not ...}


def _many(number: int) -> list[Spec]:
    return [step(), *(step(name=f"s{count}", after="24h") for count in range(1, number))]


GOOD: Final[Mapping[str, Spec]] = {
    "the least": chain(),
    "a ramp": chain(
        step(changes=[change(updates={"enabled": True, "rolloutPercentage": 5})]),
        step(
            name="quarter",
            after="24h",
            changes=[change(expect={"enabled": True, "rolloutPercentage": 5}, updates={"rolloutPercentage": 25})],
        ),
        step(name="all", after="48h", approval=True, changes=[change(updates={"rolloutPercentage": 100})]),
    ),
    "at and after mixed": chain(step(), step(name="b", after="1h"), step(name="c", at="2035-02-01T09:00:00+01:00")),
    "two steps at one time": chain(step(), step(name="b")),
    "a window once": chain(step(until="2035-01-13T09:00:00Z", changes=[change(then={"rolloutPercentage": 0})])),
    "a cron": recurring(),
    "a window": recurring(window()),
    "everything that recurs": recurring(
        window(),
        window(name="night", cron="30 22 * * SAT,SUN", until="06:00"),
        exceptDates=["2035-12-24", "2036-02-29"],
        endsAt="2036-01-01T00:00:00Z",
        suspend=True,
        cancel=True,
        maxRetries=10,
        retry={"initialSeconds": 5, "maxSeconds": 86400},
        startingDeadlineSeconds=10,
    ),
    "default pauses": chain(retry={}),
    "first pause alone": chain(retry={"initialSeconds": 3600}),
    "longest pause alone": chain(retry={"maxSeconds": 120}),
    "three flags and two environments": chain(
        step(changes=[change(), change(flagKey="banner"), change(environment="staging")])
    ),
    "skipped on a mismatch": chain(step(changes=[change(expect={"enabled": False}, onMismatch="Skip")])),
    "most steps": chain(*_many(32)),
    "most changes": chain(step(changes=[change(flagKey="k" * 126 + f"{number:02}") for number in range(20)])),
    "longest everything": recurring(
        *(
            window(
                name=f"{number:02}".rjust(63, "s"),
                changes=[
                    change(
                        flagKey=f"{flag:02}".rjust(128, "k"),
                        environment="e" * 64,
                        expect={"enabled": False, "rolloutPercentage": 0},
                        then={"enabled": False, "rolloutPercentage": 0},
                    )
                    for flag in range(20)
                ],
            )
            for number in range(32)
        ),
        exceptDates=[
            f"20{year:02}-{month:02}-{day:02}" for year in range(35, 50) for month in (1, 2) for day in range(1, 13)
        ],
    ),
    "no pause at all": chain(step(), step(name="b", after="0s")),
    "longest pause": chain(step(), step(name="b", after="8784h")),
    "hours, minutes and seconds": chain(step(), step(name="b", after="1h30m15s")),
    "name of one character": chain(step(name="9")),
    "UTC": recurring(timeZone="UTC"),
    "zone of three parts": recurring(timeZone="America/Argentina/ComodRivadavia"),
    "zone with a sign": recurring(timeZone="Etc/GMT+1"),
    "last day of each month": recurring(step(cron="0 0 L * *")),
    "last Friday": recurring(step(cron="0 0 * * 5L")),
    "second Monday": recurring(step(cron="0 0 * * 1#2")),
    "lists, ranges, steps, names": recurring(step(cron="5,35 */2 1-15 JAN-MAR *")),
    "blanks between the fields": recurring(step(cron=" 0  9 * *\tMON-FRI \n")),
}

# Each with a part of the sentence that a person gets to read.
BAD: Final[Mapping[str, tuple[Any, str]]] = {
    "no spec at all": (None, "spec: Required value"),
    "no steps": (chain(steps=...), "spec.steps: Required value"),
    "empty steps": (chain(steps=[]), "should have at least 1 items"),
    "33 steps": (chain(*_many(33)), "must have at most 32 items"),
    "unknown field": (chain(colour="red"), 'unknown field "spec.colour"'),
    "unknown field of a step": (chain(step(colour="red")), 'unknown field "spec.steps[0].colour"'),
    "unknown update": (
        chain(step(changes=[change(updates={"colour": "red"})])),
        'unknown field "spec.steps[0].changes[0].updates.colour"',
    ),
    "no time": (chain(step(at=...)), ONE_OF),
    "two times": (chain(step(at=AT, after="24h")), ONE_OF),
    "cron and at": (recurring(step(cron="0 9 * * *", at=AT)), ONE_OF),
    "after first": (chain(step(after="24h")), "the first step must not be after"),
    "steps out of order": (
        chain(step(), step(name="b", at="2035-01-12T08:59:59Z")),
        "steps with at must be in the order of their times",
    ),
    "cron and at in one plan": (
        recurring(step(cron="0 9 * * *"), step(name="b")),
        "a plan must hold either steps with cron or steps with at and after",
    ),
    "cron and after in one plan": (
        recurring(step(cron="0 9 * * *"), step(name="b", after="1h")),
        "a plan must hold either steps with cron or steps with at and after",
    ),
    "two steps of one name": (chain(step(), step(after="24h")), "the names of the steps must be unique"),
    "no name": (chain(step(name=...)), "spec.steps[0].name: Required value"),
    "empty name": (chain(step(name="")), NAME_MESSAGE),
    "name in capitals": (chain(step(name="First")), NAME_MESSAGE),
    "name with a hyphen last": (chain(step(name="first-")), NAME_MESSAGE),
    "name with a blank": (chain(step(name="the first")), NAME_MESSAGE),
    "name too long": (chain(step(name="n" * 64)), "may not be more than 63"),
    "no zone": (recurring(timeZone=...), "timeZone is required with cron"),
    "zone without cron": (chain(timeZone="UTC"), "timeZone is for steps with cron only"),
    "empty zone": (recurring(timeZone=""), ZONE_MESSAGE),
    "offset as a zone": (recurring(timeZone="+01:00"), ZONE_MESSAGE),
    "path as a zone": (recurring(timeZone="../etc/passwd"), ZONE_MESSAGE),
    "zone with a blank": (recurring(timeZone="Europe/Oslo "), ZONE_MESSAGE),
    "zone too long": (recurring(timeZone="Z" * 65), "may not be more than 64"),
    "cron with a zone": (recurring(step(cron="TZ=UTC 0 9 * * *")), "cron must not set a time zone"),
    "cron with another zone": (recurring(step(cron="CRON_TZ=UTC 0 9 * * *")), "cron must not set a time zone"),
    "macro": (recurring(step(cron="@daily")), "cron must not be a macro such as @daily"),
    "cron of four fields": (recurring(step(cron="0 9 * *")), FIVE_FIELDS),
    "cron of six fields": (recurring(step(cron="0 0 9 * * *")), FIVE_FIELDS),
    "cron with a question mark": (recurring(step(cron="0 9 ? * 1")), FIVE_FIELDS),
    "empty cron": (recurring(step(cron="")), FIVE_FIELDS),
    "day of month with day of week and other blanks": (
        recurring(step(cron="\t0 0\n13 *  5\n")),
        "cron must not set both day of month and day of week",
    ),
    "cron too long": (recurring(step(cron="0," * 150 + "0 9 * * *")), "may not be more than 256"),
    "day of month with day of week": (
        recurring(step(cron="0 0 13 * 5")),
        "cron must not set both day of month and day of week",
    ),
    "cron as a number": (recurring(step(cron=5)), "must be of type string"),
    "after of days": (chain(step(), step(name="b", after="2d")), AFTER_MESSAGE),
    "after in the wrong order": (chain(step(), step(name="b", after="30m1h")), AFTER_MESSAGE),
    "after with a fraction": (chain(step(), step(name="b", after="1.5h")), AFTER_MESSAGE),
    "negative after": (chain(step(), step(name="b", after="-1h")), AFTER_MESSAGE),
    "empty after": (chain(step(), step(name="b", after="")), AFTER_MESSAGE),
    "after without a unit": (chain(step(), step(name="b", after="24")), AFTER_MESSAGE),
    "after too long": (chain(step(), step(name="b", after="8784h1s")), AFTER_MESSAGE),
    "after of 99999999h": (chain(step(), step(name="b", after="99999999h")), AFTER_MESSAGE),
    "until without then": (
        recurring(window(changes=[change()])),
        "each change of a step with until must have then",
    ),
    "until with one then of two": (
        recurring(window(changes=[change(then={"enabled": False}), change(flagKey="banner")])),
        "each change of a step with until must have then",
    ),
    "then without until": (chain(step(changes=[change(then={"enabled": False})])), "then is for steps with until only"),
    "until with after": (
        chain(step(), step(name="b", after="1h", until="17:00", changes=[change(then={"enabled": False})])),
        "until cannot be combined with after",
    ),
    "until of a cron as a time": (recurring(window(until=AT)), LOCAL_UNTIL),
    "until of 24:00": (recurring(window(until="24:00")), LOCAL_UNTIL),
    "until of one digit": (recurring(window(until="9:00")), LOCAL_UNTIL),
    "until of an at as a local time": (
        chain(step(until="17:00", changes=[change(then={"enabled": False})])),
        "until of a step with at must be a real time with an offset",
    ),
    "until on 31 February": (
        chain(step(until="2035-02-31T09:00:00Z", changes=[change(then={"enabled": False})])),
        "until of a step with at must be a real time with an offset",
    ),
    "until before at": (
        chain(step(until="2035-01-12T08:00:00Z", changes=[change(then={"enabled": False})])),
        "until must be after at",
    ),
    "until equal to at": (
        chain(step(until="2035-01-12T10:00:00+01:00", changes=[change(then={"enabled": False})])),
        "until must be after at",
    ),
    "approval with cron": (recurring(step(cron="0 9 * * *", approval=True)), "approval is for steps with at and after"),
    "no changes": (chain(step(changes=...)), "spec.steps[0].changes: Required value"),
    "empty changes": (chain(step(changes=[])), "should have at least 1 items"),
    "21 changes": (chain(step(changes=[change(flagKey=f"k{n}") for n in range(21)])), "must have at most 20 items"),
    "a flag twice": (chain(step(changes=[change(), change()])), "a step must change each flag of an environment once"),
    "a flag twice, once by the default": (
        chain(step(changes=[change(), change(environment="production")])),
        "a step must change each flag of an environment once",
    ),
    "no key": (chain(step(changes=[change(flagKey=...)])), "flagKey: Required value"),
    "empty key": (chain(step(changes=[change(flagKey="")])), "flagKey must start with a letter or digit"),
    "key with a blank": (chain(step(changes=[change(flagKey="a b")])), "flagKey must start with a letter or digit"),
    "key too long": (chain(step(changes=[change(flagKey="k" * 129)])), "may not be more than 128"),
    "environment with a slash": (
        chain(step(changes=[change(environment="eu/1")])),
        "environment must start with a letter or digit",
    ),
    "environment too long": (chain(step(changes=[change(environment="e" * 65)])), "may not be more than 64"),
    "no updates": (chain(step(changes=[change(updates=...)])), "updates: Required value"),
    "empty updates": (chain(step(changes=[change(updates={})])), "updates must set at least one of"),
    "empty then": (recurring(window(changes=[change(then={})])), "then must set at least one of"),
    "empty expect": (chain(step(changes=[change(expect={})])), "expect must name at least one of"),
    "percentage 101": (chain(step(changes=[change(updates={"rolloutPercentage": 101})])), "less than or equal to 100"),
    "expected percentage -1": (
        chain(step(changes=[change(expect={"rolloutPercentage": -1})])),
        "greater than or equal to 0",
    ),
    "last percentage 50.5": (
        recurring(window(changes=[change(then={"rolloutPercentage": 50.5})])),
        "must be of type integer",
    ),
    "enabled as a string": (chain(step(changes=[change(updates={"enabled": "true"})])), "must be of type boolean"),
    "unknown mismatch": (
        chain(step(changes=[change(expect={"enabled": True}, onMismatch="Hold")])),
        'supported values: "Fail", "Skip"',
    ),
    "mismatch without expect": (
        chain(step(changes=[change(onMismatch="Skip")])),
        "onMismatch needs expect",
    ),
    "exceptions without cron": (chain(exceptDates=["2035-12-24"]), "exceptDates is for steps with cron only"),
    "exception on 30 February": (recurring(exceptDates=["2035-02-30"]), DATES_MESSAGE),
    "exception with a time": (recurring(exceptDates=["2035-12-24T00:00:00Z"]), "may not be more than 10"),
    "exception of one digit": (recurring(exceptDates=["2035-1-24 "]), DATES_MESSAGE),
    "exception in 1999": (recurring(exceptDates=["1999-12-24"]), DATES_MESSAGE),
    "exception twice": (recurring(exceptDates=["2035-12-24", "2035-12-24"]), "Duplicate value"),
    "end without cron": (chain(endsAt=AT), "endsAt is for steps with cron only"),
    "end without an offset": (recurring(endsAt="2036-01-01T00:00:00"), "endsAt must be a real time with an offset"),
    "suspend as a string": (chain(suspend="yes"), "must be of type boolean"),
    "cancel as a number": (chain(cancel=0), "must be of type boolean"),
    "11 retries": (chain(maxRetries=11), "less than or equal to 10"),
    "half a retry": (chain(maxRetries=0.5), "must be of type integer"),
    "deadline of 9 seconds": (chain(startingDeadlineSeconds=9), "greater than or equal to 10"),
    "first pause of 4 seconds": (chain(retry={"initialSeconds": 4}), "greater than or equal to 5"),
    "first pause above an hour": (
        chain(retry={"initialSeconds": 3601, "maxSeconds": 7200}),
        "less than or equal to 3600",
    ),
    "longest pause above a day": (chain(retry={"maxSeconds": 86401}), "less than or equal to 86400"),
    "first pause above the longest": (
        chain(retry={"initialSeconds": 600, "maxSeconds": 300}),
        RETRY_MESSAGE,
    ),
    "longest pause below the first one's default": (
        chain(retry={"maxSeconds": 60}),
        RETRY_MESSAGE,
    ),
} | {f"at of {text!r}": (chain(step(at=text)), "at must be a real time with an offset") for text in BAD_TIMES}
