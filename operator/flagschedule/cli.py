"""The command line: `flagschedule operator | process | cleanup | migrate | version`.

Parses, calls, translates errors.

Exit codes: 0 done, 1 unexpected, 2 bad configuration, 3 a dependency is unavailable. No traceback reaches a
user, but for a bug and only with FLAG_SCHEDULE_LOG_LEVEL=DEBUG.
"""

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from flagschedule import __version__, logs, settings
from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError, StatementRefusedError

_log = structlog.get_logger()
_EXIT_CODES: Final = """\
exit codes:
  0  the run finished, also where schedules failed: those are recorded
  1  unexpected: a bug
  2  bad configuration; all faults are listed at once
  3  a dependency is unavailable; nothing was consumed"""
_CHECK_RIGHTS: Final = "check the rights of the database role and what else changes these tables, then run this again"
_SEE: Final = "Settings are environment variables, listed by `flagschedule --help`."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one program of FlagSchedule; the exit code."""
    logs.configure()
    given = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = given.run
    try:
        run(given)
    except ConfigurationError as error:
        for fault in error.faults:
            _say(fault)
        return 2
    except DependencyUnavailableError as error:
        _say(str(error))
        return 3
    except StatementRefusedError as error:
        _say(f"{error}; run `flagschedule migrate`, and check the rights of the database role")
        return 3
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 -- the last line of defence against a traceback
        _log.debug("Unexpected error", exc_info=True)
        _say(f"unexpected {type(error).__name__}: this is a bug; FLAG_SCHEDULE_LOG_LEVEL=DEBUG shows where")
        return 1
    return 0


def _say(sentence: str) -> None:
    print(f"flagschedule: {sentence}", file=sys.stderr)  # noqa: T201 -- a message to the user


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flagschedule",
        description="Changes feature flags at a set time.",
        epilog=f"settings (environment variables):\n{_explained()}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    programs = parser.add_subparsers(title="programs", required=True, metavar="PROGRAM")

    def add(name: str, run: Callable[[argparse.Namespace], None], sentence: str) -> argparse.ArgumentParser:
        program = programs.add_parser(name, help=sentence, description=sentence, epilog=_SEE)
        program.set_defaults(run=run)
        return program

    add(
        "operator",
        _operator,
        "Mirror FlagSchedule objects into the database and write back what became of them.",
    )
    process = add("process", _process, "Apply everything that is due, then end. Run it every minute.")
    cleanup = add("cleanup", _cleanup, "Delete what was finished long ago, then end. Run it once a day.")
    cleanup.add_argument("--dry-run", action="store_true", help="only count what would be deleted")
    for program in (process, cleanup):
        program.add_argument(
            "--output",
            choices=["none", "json"],
            default="none",
            help="print the run's summary to standard output",
        )
    add("migrate", _migrate, "Bring the database's schema up to date. Re-running changes nothing.")
    add("version", _version, "Print the version.")
    return parser


def _explained() -> str:
    """The settings, each with its sentence and its default."""
    lines = []
    for name, field in settings.Settings.model_fields.items():
        text = f"{field.description} [{settings.default(name)}]"
        lines += [
            f"  {settings.variable(name)}",
            *textwrap.wrap(text, 76, initial_indent="    ", subsequent_indent="    "),
        ]
    return "\n".join(lines)


def _load() -> settings.Settings:
    loaded = settings.load()
    logs.configure(loaded.log_level, loaded.log_format)
    return loaded


def _operator(_: argparse.Namespace) -> None:
    from flagschedule.entrypoints import operator  # noqa: PLC0415 -- Kopf is loaded by the operator only

    operator.run(_load())


def _process(given: argparse.Namespace) -> None:
    from flagschedule.entrypoints import processor  # noqa: PLC0415 -- loaded by the processor only

    processor.run(_load(), given.output)


def _cleanup(given: argparse.Namespace) -> None:
    from flagschedule.entrypoints import cleaner  # noqa: PLC0415 -- loaded by the cleaner only

    cleaner.run(_load(), given.output, dry_run=given.dry_run)


def _migrate(_: argparse.Namespace) -> None:
    from flagschedule.bootstrap import migrating  # noqa: PLC0415 -- loaded by the migration only
    from flagschedule.entrypoints import stopping  # noqa: PLC0415 -- likewise

    try:
        applied = migrating.migrate(_load(), stopping.end_on_signals)
    except StatementRefusedError as error:
        raise DependencyUnavailableError(f"{error}; {_CHECK_RIGHTS}") from error
    _log.info("Schema is up to date", applied=applied)


def _version(_: argparse.Namespace) -> None:
    print(__version__)  # noqa: T201 -- the requested result


if __name__ == "__main__":
    sys.exit(main())
