"""Completion, as kubectl expects it of the program `kubectl_complete-flagschedule`.

It prints a proposal a line and then a directive; 4 says that files are no proposals. It never fails: a message would
stand in the middle of what the user types.
"""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from flagschedule.plugin import arguments
from flagschedule.plugin.errors import PluginError
from flagschedule.plugin.kubectl import Kubectl
from flagschedule.plugin.objects import FREEZE, PLAN, RESOURCES, SCHEDULE

_NO_FILES: Final = ":4"
_FILES: Final = ":0"
SCRIPT: Final = '#!/bin/sh\nexec kubectl flagschedule __complete "$@"\n'
_KINDS: Final = {"promote": (PLAN,), "unfreeze": (FREEZE,), "revert": (SCHEDULE,), "freeze": (), "preview": ()}
_PLACES: Final = {"-n", "--namespace", "--context"}


def complete(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return what to print for the words after `kubectl flagschedule`; the last one is being typed."""
    *before, typed = words or [""]
    commands = arguments.commands(parser)
    command = next((word for word in before if word in commands), None)
    if before and before[-1] in {"-f", "--filename", "--kubeconfig"}:
        return [_FILES]
    if typed.startswith("-"):
        found = _options(commands[command] if command else parser)
    elif before and before[-1].startswith("-") and before[-1] not in {"-A", "--all-namespaces"}:
        found = _values(before[-1], commands.get(command or ""), before)
    elif command is None:
        found = sorted(commands)
    else:
        found = _names(command, before)
    return [*(each for each in found if each.startswith(typed)), _NO_FILES]


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return sorted(option for action in parser._actions for option in action.option_strings if option[:2] == "--")  # noqa: SLF001 -- argparse has no other way


def _values(option: str, parser: argparse.ArgumentParser | None, before: Sequence[str]) -> list[str]:
    if option in {"-n", "--namespace"}:
        return [name.partition("/")[2] for name in _kubectl(before, "get", "namespaces", "--output=name")]
    if option == "--context":
        return _kubectl([], "config", "get-contexts", "--output=name")
    for action in parser._actions if parser else ():  # noqa: SLF001 -- argparse has no other way
        if option in action.option_strings and action.choices:
            return [str(choice) for choice in action.choices]
    return []


def _names(command: str, before: Sequence[str]) -> list[str]:
    kinds = _KINDS.get(command, (SCHEDULE, PLAN))
    found = [_kubectl(before, "get", RESOURCES[kind], "--output=name") for kind in kinds]
    return sorted({name.partition("/")[2] for names in found for name in names})


def _kubectl(before: Sequence[str], *words: str) -> list[str]:
    """Return the lines of kubectl's answer for the namespace and context that were typed before."""
    places = [f"{word}={value}" for word, value in pairwise(before) if word in _PLACES]
    places = [place.replace("-n=", "--namespace=", 1) if place.startswith("-n=") else place for place in places]
    try:
        return Kubectl(places).run(*words, "--request-timeout=3s").split()
    except PluginError:
        return []
