"""The command line of `kubectl flagschedule`."""

import argparse
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from flagschedule.domain.calendar import parse_duration
from flagschedule.domain.zones import parse_zone
from flagschedule.plugin.objects import time

PROGRAM: Final = "kubectl flagschedule"
COMMON: Final = {"-h", "-n", "-A", "--context", "--kubeconfig", "--as"}
OUTPUTS: Final = ("table", "json", "ics", "html")
_EPILOG: Final = """\
exit codes:
  0  done; what you may not read is named in a note
  1  failed, or preview found a conflict
  2  the command line is wrong

Times are those of this machine's clock; the database's clock decides when a change is due."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Shows what FlagSchedules, FlagPlans and FlagFreezes change and have changed, and acts on them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_connection()],
        allow_abbrev=False,
    )
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    _showing(commands)
    _acting(commands)
    completion = _add(commands, "completion", "Print the script that lets kubectl complete this plugin.")
    completion.description = (
        "Print the script that lets kubectl complete this plugin. Save it as kubectl_complete-flagschedule in a folder "
        "of PATH, and make it executable."
    )
    return whole


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    return next(dict(action.choices) for action in parser._actions if isinstance(action.choices, dict))  # noqa: SLF001 -- argparse has no other way


def _connection() -> argparse.ArgumentParser:
    """Return the options that kubectl gets; they may stand before and after the command."""
    options = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = options.add_argument_group("options of kubectl")
    group.add_argument(
        "-n",
        "--namespace",
        action="append",
        dest="namespaces",
        metavar="NAMESPACE",
        help="the namespace; may be repeated",
    )
    group.add_argument("-A", "--all-namespaces", action="store_true", help="all namespaces that you may read")
    for option, metavar, sentence in (
        ("--context", "CONTEXT", "the context of the kubeconfig"),
        ("--kubeconfig", "FILE", "the kubeconfig"),
        ("--as", "USER", "the user to impersonate"),
    ):
        group.add_argument(option, metavar=metavar, help=sentence, dest=option[2:])
    return options


Commands = Any  # argparse's type for them is private


def _add(commands: Commands, name: str, sentence: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=sentence, description=sentence, parents=[_connection()], allow_abbrev=False
    )
    return added


def _showing(commands: Commands) -> None:
    timeline = _add(commands, "timeline", "Show what changes when: schedules, plans and freezes.")
    timeline.add_argument(
        "--next", type=_length, default=timedelta(days=7), metavar="TIME", help="how far to look, 7d by default"
    )
    timeline.add_argument("-o", "--output", choices=OUTPUTS, default="table", help="table by default")
    timeline.add_argument("--flag", metavar="KEY", help="one flag only")

    preview = _add(commands, "preview", "Show what a file will do: the API server's verdict, times, overlaps, freezes.")
    preview.add_argument(
        "-f", "--filename", required=True, metavar="FILE", help="a file, a folder or - for standard input"
    )
    preview.add_argument("--time-zone", type=_zone, default="UTC", metavar="ZONE", help="also show times in this zone")

    why = _add(commands, "why", "Show what an object waits for, and the one command that helps.")
    _name(why)

    simulate = _add(commands, "simulate", "Show the flags' values at a time, if all goes as planned.")
    simulate.add_argument("--at", type=_time, required=True, metavar="TIME", help="an RFC 3339 time")
    simulate.add_argument("--flag", metavar="KEY", help="one flag only")

    history = _add(commands, "history", "Show attempts, values before and after, and who: of an object or of a flag.")
    which = history.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", metavar="NAME", help="a FlagSchedule or FlagPlan")
    which.add_argument("--flag", metavar="KEY", help="all objects that change this flag")

    revert = _add(commands, "revert", "Print the YAML that puts a flag back to what it was before a FlagSchedule.")
    _name(revert)
    revert.add_argument(
        "--in",
        dest="lead",
        type=_length,
        default=timedelta(minutes=1),
        metavar="TIME",
        help="when it is due, from now on; 1m by default",
    )


def _acting(commands: Commands) -> None:
    _name(_add(commands, "retry", "Try again what has failed."))
    for name, sentence in (
        ("suspend", "Hold an object, or all that changes a flag."),
        ("resume", "Let an object go on, or what `suspend --flag` has held."),
    ):
        command = _add(commands, name, sentence)
        which = command.add_mutually_exclusive_group(required=True)
        which.add_argument("name", nargs="?", metavar="NAME", help="a FlagSchedule or FlagPlan")
        which.add_argument("--flag", metavar="KEY", help="all objects that change this flag")
    _name(_add(commands, "cancel", "Give an object up for good."))
    promote = _add(commands, "promote", "Approve the step of a plan that waits for it.")
    promote.add_argument("name", metavar="NAME", help="a FlagPlan")
    promote.add_argument("step", nargs="?", metavar="STEP", help="the step; by default the one that waits")
    freeze = _add(
        commands, "freeze", "Hold changes by a FlagFreeze: of flags, environments or namespaces, or -A for all."
    )
    freeze.add_argument("name", metavar="NAME", help="the name of the new FlagFreeze")
    freeze.add_argument(
        "--reason", required=True, metavar="TEXT", help="why, in one line; every held schedule shows it"
    )
    freeze.add_argument("--flag", action="append", default=[], dest="flags", metavar="KEY", help="a key, or key*")
    freeze.add_argument(
        "--environment", action="append", default=[], dest="environments", metavar="NAME", help="an environment"
    )
    freeze.add_argument(
        "--for", type=_length, dest="length", metavar="TIME", help="how long; by default until unfreeze"
    )
    freeze.add_argument("--allow-switch-off", action="store_true", help="let changes pass that only switch a flag off")
    unfreeze = _add(commands, "unfreeze", "Show what a FlagFreeze holds, and delete it.")
    unfreeze.add_argument("name", metavar="NAME", help="a FlagFreeze")
    unfreeze.add_argument("--yes", action="store_true", help="delete it without a question")


def _name(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="a name, or with its kind: fsched/launch, fplan/hours")


def _length(written: str) -> timedelta:
    if written.endswith("d") and written[:-1].isdigit() and len(written) < 5:  # noqa: PLR2004 -- years are enough
        return timedelta(days=int(written[:-1]))
    try:
        return parse_duration(written)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a length of time, for example 7d, 24h, 1h30m or 90s") from None


def _time(written: str) -> Any:
    found = time(written)
    if found is None:
        raise argparse.ArgumentTypeError('must be an RFC 3339 time with an offset, for example "2027-01-15T09:00:00Z"')
    return found


def _zone(written: str) -> str:
    try:
        return parse_zone(written).key or written
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def flags_of_kubectl(given: argparse.Namespace) -> Sequence[str]:
    """Return the options that every call of kubectl gets."""
    named = vars(given)
    return [f"--{name}={named[name]}" for name in ("context", "kubeconfig", "as") if named.get(name)]
