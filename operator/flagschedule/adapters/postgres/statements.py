"""Reads the .sql files of the folder `sql`, and joins them to the statements of the processor.

Called by the stores; each file is read once.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString

_LIMIT: Final = "/* limit */ 100"
_HELD: Final = "/* held */ false"
_HOLDS: Final = "/* holds */ false"
_LOCK: Final = re.compile(r"^ *FOR (NO KEY )?UPDATE.*\n", re.MULTILINE)
_LOOKED_AT: Final = 1000  # rows, of which one that can be applied is enough


@cache
def read(name: str, **parts: LiteralString) -> LiteralString:
    """Return the text of `sql/name.sql`, with each part in its place: that of `/* part */` and the word behind it.

    The text is part of the package, so it is as literal as the code.

    Raises:
        ValueError: the file has no place for a part.
    """
    text = _with_held(_text(name))
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


def _with_held(text: LiteralString) -> LiteralString:
    return text.replace(_HELD, _text("process/held")).replace(_HOLDS, _text("process/holds"))


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


def anything_due() -> LiteralString:
    """Return the statement that shows whether a first attempt or a retry is due."""
    first_attempt, retry = read("process/is_first_attempt_due"), read("process/is_retry_due")
    return read("process/is_anything_due", first_attempt=first_attempt, retry=retry)


def plain_claim(name: str, claim: str) -> LiteralString:
    """Return a statement in its plain text, with the claim that decides which rows it takes."""
    return _filled(plain(name), gate=read("process/gate"), claim=plain(claim))


def full_claim(name: str, claim: str) -> LiteralString:
    """Return a statement in its full text: of the rows that the claim finds it takes those that may be applied now."""
    return _filled(full(name), gate=read("process/gate"), taken=full(claim), claim=read("process/judge"))


def look() -> LiteralString:
    """Return the statement that queries whether anything can be applied, in its full text; it locks nothing."""
    claims = {"first_attempts": full("process/claim_due"), "retries": full("process/claim_retries")}
    text = read("process/look", claim=read("process/judge"), **claims)
    return limited(_LOCK.sub("", text), _LOOKED_AT)
