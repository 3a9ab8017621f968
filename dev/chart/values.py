"""Reads the chart's values.yaml with its comments, which say what each value means. Called by schema.py and readme.py.

A comment that begins with `# --` describes the value below it; a line `# @schema` in it adds to the value's schema
what its default cannot say. A comment without the dashes belongs to the section that it stands above, and `@schema
{$open: true}` there lets the section have other keys, too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

_MARK: Final = "-- "
_SCHEMA: Final = "@schema"
_OPEN: Final = "$open"


class ValuesError(Exception):
    """The file breaks a rule; the text says which and where."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """One key of the file: a value that users set, or a section that holds some.

    Attributes:
        path: the keys from the top.
        description: its comment; empty for a section that needs none.
        stated: what `@schema` says.
        default: what stands in the file.
        children: what a section holds. A value that users set has none, even if its default is a map.
    """

    path: tuple[str, ...]
    description: str
    stated: dict[str, Any]
    default: Any
    children: tuple["Value", ...] = field(default=())

    @property
    def dotted(self) -> str:
        """The path as `--set` takes it."""
        return ".".join(self.path)

    @property
    def is_open(self) -> bool:
        """Whether a section may have keys that are not in the file."""
        return bool(self.stated.get(_OPEN))

    def leaves(self) -> Iterator["Value"]:
        """Yield what users set."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


def read(file: Path) -> tuple[Value, ...]:
    """Return the file's values, in its order.

    Raises:
        ValuesError: a value has no description, or its type cannot be known.
    """
    text = file.read_text()
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(top, yaml.MappingNode):
        raise ValuesError("the file is not a map")
    return tuple(_children((), top, text.splitlines()))


def _children(above: tuple[str, ...], node: yaml.MappingNode, lines: list[str]) -> Iterator[Value]:
    for key, value in node.value:
        yield _value((*above, key.value), value, _comment(key.start_mark.line, lines), lines)


def _value(path: tuple[str, ...], node: yaml.Node, comment: str, lines: list[str]) -> Value:
    dotted = ".".join(path)
    description, _, stated = comment.partition(_SCHEMA)
    own = description.startswith(_MARK)
    schema = yaml.safe_load(stated) if stated else {}
    is_section = isinstance(node, yaml.MappingNode) and bool(node.value) and schema.keys() <= {_OPEN}
    if not is_section and not own:
        raise ValuesError(f"{dotted} has no description: write `# {_MARK}What it does.` above it")
    return Value(
        path=path,
        description=description.removeprefix(_MARK).strip(),
        stated=schema,
        default=_construct(node),
        children=tuple(_children(path, node, lines)) if is_section and isinstance(node, yaml.MappingNode) else (),
    )


def _comment(line: int, lines: list[str]) -> str:
    """Return the lines of comment right above a line, as one."""
    found: list[str] = []
    while line and (match := re.match(r"\s*# ?(.*)", lines[line - 1])):
        found.insert(0, match.group(1).strip())
        line -= 1
    return " ".join(found)


def _construct(node: yaml.Node) -> Any:
    return yaml.SafeLoader("").construct_object(node, deep=True)
