"""Writes the page of the plugin's commands from its own help. A test checks that it is fresh.

The command: `python -m dev.reference`, a part of `make generate`.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from flagschedule.plugin import arguments

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "plugin.md"
_MARKED: Final = re.compile(r"(?<=<!-- commands -->\n).*(?=<!-- /commands -->)", re.DOTALL)


def reference() -> str:
    """Return the page as it should be: the part between the marks is generated again."""
    return _MARKED.sub(lambda _: "\n".join(_commands()) + "\n", PAGE.read_text())


def _commands() -> Iterator[str]:
    parser = arguments.parser()
    yield from ("### Options of every command", "", *_options(parser), "")
    for name, command in arguments.commands(parser).items():
        yield f"### {name}"
        yield ""
        yield str(command.description)
        yield ""
        yield f"`{_usage(name, command)}`"
        yield ""
        listed = list(_options(command))
        if listed:
            yield from (*listed, "")


def _usage(name: str, command: argparse.ArgumentParser) -> str:
    """Return the usage in one line, without the options of every command; argparse's own differs between versions."""
    words = [arguments.PROGRAM, name]
    for action in _own(command):
        value = f" {_value(action)}" if action.nargs != 0 else ""
        word = f"{action.option_strings[-1]}{value}" if action.option_strings else str(action.metavar)
        is_needed = action.required if action.option_strings else action.nargs != "?"
        words.append(word if is_needed else f"[{word}]")
    return " ".join(words)


def _value(action: argparse.Action) -> str:
    return str(action.metavar) if action.choices is None else "|".join(map(str, action.choices))


def _own(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    common = set() if parser.prog == arguments.PROGRAM else arguments.COMMON
    for action in parser._actions:  # noqa: SLF001 -- argparse has no other way
        if not isinstance(action.choices, dict) and not common & set(action.option_strings):
            yield action


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in _own(parser):
        value = f" {_value(action)}" if action.option_strings and action.nargs != 0 else ""
        names = ", ".join(action.option_strings) or str(action.metavar)
        yield f"- `{names}{value}`: {action.help}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(reference())
    print(f"==> {PAGE.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
