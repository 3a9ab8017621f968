"""Reads the .sql files of the folder `sql`, and joins them to the statements of the processor.

Called by the stores; each file is read once.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString

_LIMIT: Final = "/* limit */ 100"
_CLAIM: Final = "/* claim */ SELECT"
_TAKEN: Final = "/* taken */ SELECT"
_GATE: Final = "/* gate */ SELECT false AS closed"
_HELD: Final = "/* held */ false"
_LOCK: Final = re.compile(r"^ *FOR (NO KEY )?UPDATE.*\n", re.MULTILINE)
_LOOKED_AT: Final = 1000  # rows, of which one that can be applied is enough


@cache
def read(name: str) -> LiteralString:
    """Return the text of `sql/name.sql`. It is part of the package, so it is as literal as the code."""
    return _with_held(_text(name))


@cache
def _text(name: str) -> LiteralString:
    return files(__package__).joinpath("sql", f"{name}.sql").read_text()


def _with_held(text: LiteralString) -> LiteralString:
    return text.replace(_HELD, _text("process/held"))


@cache
def plain(name: str) -> LiteralString:
    """Return the text of a file with two texts that is used while no row needs to be judged and no freeze is active."""
    return _with_held(re.sub(r"^ *-- full: .*\n", "", _text(name), flags=re.MULTILINE))


@cache
def full(name: str) -> LiteralString:
    """Return the text of a file with two texts that can do everything."""
    text = re.sub(r"^.*-- plain\n", "", _text(name), flags=re.MULTILINE)
    return _with_held(re.sub(r"^( *)-- full: ", r"\1", text, flags=re.MULTILINE))


@cache
def limited(text: LiteralString, limit: int) -> LiteralString:
    """The statement with its LIMIT as a literal: as a bind parameter it would lose the partial index.

    Raises:
        ValueError: the statement has no place for a limit.
    """
    if _LIMIT not in text:
        raise ValueError("the statement has no LIMIT to set")
    return text.replace(_LIMIT, str(int(limit)))


@cache
def numbered(text: LiteralString) -> tuple[bytes, Sequence[str]]:
    """The statement with $1, $2 for its named parameters, and their names in this order.

    As the bytes that are sent: psycopg looks up each statement by them, and theirs need be hashed only once.
    """
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    for number, name in enumerate(names, 1):
        text = text.replace(f"%({name})s", f"${number}")
    return text.encode(), names


def either(one: LiteralString, other: LiteralString) -> LiteralString:
    """Join two SELECTs of one boolean each; the second one is run only if the first one is false."""
    return f"SELECT ({one}) OR ({other})"


def plain_claim(name: str, claim: str) -> LiteralString:
    """Return a statement in its plain text, with the claim that decides which rows it takes."""
    return plain(name).replace(_GATE, read("process/gate")).replace(_CLAIM, plain(claim))


def full_claim(name: str, claim: str) -> LiteralString:
    """Return a statement in its full text: of the rows that the claim finds it takes those that may be applied now."""
    text = full(name).replace(_GATE, read("process/gate")).replace(_TAKEN, full(claim))
    return text.replace(_CLAIM, read("process/judge"))


def look() -> LiteralString:
    """Return the statement that queries whether anything can be applied, in its full text; it locks nothing."""
    text = read("process/look").replace(_CLAIM, read("process/judge"))
    text = text.replace("/* first attempts */ SELECT", full("process/claim_due"))
    return limited(_LOCK.sub("", text.replace("/* retries */ SELECT", full("process/claim_retries"))), _LOOKED_AT)
