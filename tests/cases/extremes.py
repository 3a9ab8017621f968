"""The extremes of each type of a column: what Postgres can hold, and programs may stumble over."""

import json
from typing import Final

import orjson

_DEEP: Final = 1500
_LONG: Final = 1_000_000  # characters
_DIGITS: Final = 5000

_TIMES: Final = {
    "infinity": "infinity",
    "-infinity": "-infinity",
    "the earliest": "4714-11-24 00:00:00+00 BC",
    "4713 BC": "4713-01-01 00:00:00+00 BC",
    "1 BC": "0001-12-31 23:59:59+00 BC",
    "the end of 9999": "9999-12-31 23:59:59.999999+00",
    "10000": "10000-01-01 00:00:00+00",
    "the latest": "294276-12-31 23:59:59.999999+00",
    "1970": "1970-01-01 00:00:00+00",
    "2099": "2099-12-31 23:59:59+00",
}
_TEXTS: Final = {
    "empty": "",
    "a megabyte": "x" * _LONG,
    "control characters": "\x01\x07\x1b[2J\x7f\x9b",
    "line ends": "a\nb\r\nc\u2028d\u2029e\x85f",
    "a forged log line": 'x\n{"event": "Schedule applied", "level": "info"}',
    "emoji": "🚀👩‍👩‍👧\U0010ffff",
    "right to left": "\u202egnp.exe\u2066",
    "formats": "%s %(id)s %n {0} {id} $1 :name",
    "quotes": "'\"`\\;--/*",
    "blanks": " \t ",
}
_DOCUMENTS: Final = {
    "null": "null",
    "a number": "1",
    "a text": '"x"',
    "an empty list": "[]",
    "an empty object": "{}",
    "a deep list": "[" * _DEEP + "]" * _DEEP,
    "a deep object": '{"enabled":' * _DEEP + "true" + "}" * _DEEP,
    "a deep value": '{"enabled": ' + "[" * _DEEP + "]" * _DEEP + "}",
    "many digits": f'{{"rolloutPercentage": {"9" * _DIGITS}}}',
    "many digits after the point": f'{{"rolloutPercentage": 1.{"0" * _DIGITS}1}}',
    "a large exponent": '{"rolloutPercentage": 1e100000}',
    "a small exponent": '{"rolloutPercentage": 1e-10000}',
    "a whole number with an exponent": '{"rolloutPercentage": 1e1}',
    "a key twice": '{"enabled": false, "enabled": true}',
    "an unknown key": '{"enabled": true, "\\u2028": 1}',
    "a huge text": json.dumps({"enabled": "x" * _LONG}),
    "a huge key": json.dumps({"x" * _LONG: True}),
    "null in it": '{"enabled": null}',
    "many keys": orjson.dumps({str(number): number for number in range(20_000)}).decode(),
}

_LISTS: Final = {
    "empty": "{}",
    "null in it": "{NULL}",
    "two dimensions": "{{a,b},{c,d}}",
    "from zero": "[0:1]={a,b}",
    "a huge text": '{"' + "x" * _LONG + '"}',
    "many": "{" + ",".join(map(str, range(20_000))) + "}",
}

_EXTREMES: Final[dict[str, dict[str, str]]] = {
    "timestamp with time zone": _TIMES,
    "timestamp without time zone": {name: text.replace("+00", "") for name, text in _TIMES.items()},
    "smallint": {"least": "-32768", "most": "32767", "0": "0", "-1": "-1"},
    "integer": {"least": "-2147483648", "most": "2147483647", "0": "0", "-1": "-1"},
    "bigint": {"least": "-9223372036854775808", "most": "9223372036854775807", "0": "0", "-1": "-1"},
    "double precision": {"nan": "nan", "infinity": "infinity", "-infinity": "-infinity", "tiny": "5e-324"},
    "numeric": {"nan": "nan", "infinity": "infinity", "digits": "9" * _DIGITS},
    "interval": {"most": "178000000 years", "least": "-178000000 years", "0": "0"},
    "text": _TEXTS,
    "text[]": _LISTS,
    "jsonb": _DOCUMENTS,
    "boolean": {"true": "true", "false": "false"},
    "uuid": {"nil": "00000000-0000-0000-0000-000000000000", "max": "ffffffff-ffff-ffff-ffff-ffffffffffff"},
}


def of(kind: str) -> dict[str, str | None]:
    """Return the extremes of a type by name, as Postgres reads them; None is null.

    Raises:
        KeyError: the extremes of this type are not written down yet.
    """
    plain = kind.partition("(")[0]
    if plain in {"character varying", "character", "name"}:
        plain = "text"
    return {**_EXTREMES[plain], "null": None}
