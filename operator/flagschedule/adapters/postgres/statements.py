"""Reads the .sql files of the folder `sql`, and builds the processor's statements from them.

Called by the stores; each file is read once. Some files have two texts, plain and full: see process/apply.sql.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString

_LIMIT: Final = "/* limit */ 100"
_CONDITIONS: Final = ("is_due", "is_not_aside", "held", "holds")  # `held` contains `holds`
_LOCK: Final = re.compile(r"^ *FOR (NO KEY )?UPDATE.*\n", re.MULTILINE)
_LOOKED_AT: Final = 1000  # rows of each claim among which `look` searches for one that can be applied


@cache
def read(name: str, **parts: LiteralString) -> LiteralString:
    """Return the text of `sql/name.sql`; each part replaces the comment `/* part */` and the word that follows it.

    Typed as literal, because the files are a part of the package and hold nothing from outside.

    Raises:
        ValueError: the file has no place for a part.
    """
    text = _with_conditions(_text(name))
    if missing := [part for part in parts if f"/* {part} */" not in text]:
        raise ValueError(f"{name}.sql has no place for {missing[0]}")
    return _filled(text, **parts)


def _filled(text: LiteralString, **parts: LiteralString) -> LiteralString:
    for part, filling in parts.items():
        text = re.sub(rf"/\* {part} \*/ ?\w*", lambda _: filling, text)  # noqa: B023 -- called at once
    return text


@cache
def _text(name: str) -> LiteralString:
    return files(__package__).joinpath("sql", f"{name}.sql").read_text()


def _with_conditions(text: LiteralString) -> LiteralString:
    for name in _CONDITIONS:
        text = text.replace(f"/* {name} */ false", _text(f"process/{name}"))
    return text


@cache
def plain(name: str) -> LiteralString:
    """Return the plain text of a file."""
    return _with_conditions(re.sub(r"^ *-- full: .*\n", "", _text(name), flags=re.MULTILINE))


@cache
def full(name: str) -> LiteralString:
    """Return the full text of a file."""
    text = re.sub(r"^.*-- plain\n", "", _text(name), flags=re.MULTILINE)
    return _with_conditions(re.sub(r"^( *)-- full: ", r"\1", text, flags=re.MULTILINE))


@cache
def limited(text: LiteralString, limit: int) -> LiteralString:
    """Return the statement with its LIMIT as a literal: with a parameter Postgres would not use the partial index.

    Raises:
        ValueError: the statement has no place for a limit.
    """
    if _LIMIT not in text:
        raise ValueError("the statement has no LIMIT to set")
    return text.replace(_LIMIT, str(int(limit)))


@cache
def numbered(text: LiteralString) -> tuple[bytes, Sequence[str]]:
    """Return the statement with $1, $2 for its named parameters, and their names in this order.

    The statement is returned as the bytes that are sent: psycopg looks up prepared statements by them, and Python
    computes the hash of an object of bytes only once.
    """
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    for number, name in enumerate(names, 1):
        text = text.replace(f"%({name})s", f"${number}")
    return text.encode(), names


def anything_due() -> LiteralString:
    """Return the statement that shows whether a first attempt or a retry is due."""
    first_attempt, retry = read("process/is_first_attempt_due"), read("process/is_retry_due")
    return read("process/is_anything_due", first_attempt=first_attempt, retry=retry)


def plain_claim(name: str, claim: str) -> LiteralString:
    """Return the plain text of a statement, with the claim that finds its rows."""
    return _filled(plain(name), gate=read("process/gate"), claim=plain(claim))


def full_claim(name: str, claim: str) -> LiteralString:
    """Return the full text of a statement, with the claim that finds its rows and the judge that chooses among them."""
    return _filled(full(name), gate=read("process/gate"), taken=full(claim), claim=read("process/judge"))


def look() -> LiteralString:
    """Return the statement that queries, by the full texts, whether anything can be applied; it locks no row."""
    claims = {"first_attempts": full("process/claim_due"), "retries": full("process/claim_retries")}
    text = read("process/look", claim=read("process/judge"), **claims)
    return limited(_LOCK.sub("", text), _LOOKED_AT)
