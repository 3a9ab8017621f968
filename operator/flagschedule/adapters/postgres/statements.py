"""Reads the .sql files of the folder `sql`; called by the stores; each file is read once."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString

_LIMIT: Final = "/* limit */ 100"
_CLAIM: Final = "/* claim */ SELECT"


@cache
def read(name: str) -> LiteralString:
    """Return the text of `sql/name.sql`. It is part of the package, so it is as literal as the code."""
    return files(__package__).joinpath("sql", f"{name}.sql").read_text()


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


def claimable_with(claim: LiteralString) -> LiteralString:
    """Return the statement that only lists the rows that `claim` would take."""
    return read("process/claimable").replace(_CLAIM, claim)


def apply_with(claim: LiteralString) -> LiteralString:
    """The statement that applies, with `claim` deciding which rows it takes.

    Raises:
        ValueError: apply.sql has no place for a claim.
    """
    text = read("process/apply")
    if _CLAIM not in text:
        raise ValueError("apply.sql has no place for a claim")
    return text.replace(_CLAIM, claim)
