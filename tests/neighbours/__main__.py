"""The command `python -m tests.neighbours`: measures what one tenant's trouble does to another."""

import argparse
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.neighbours import matrix, race, stops
from tests.neighbours.troubles import troubles

_PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "neighbours.md"


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def _matrix(given: argparse.Namespace) -> tuple[str, bool]:
    chosen = [each for each in troubles(full=given.full) if given.only in each.name]
    lines: list[matrix.Line] = []
    for each in chosen:
        lines.append(matrix.measure(each, given.rounds, _say))
        if given.into:
            matrix.keep(given.into, lines)
        if given.write:
            _write("matrix", matrix.table(lines))
    return matrix.table(lines), any(line.outside() for line in lines)


def _stops(given: argparse.Namespace) -> tuple[str, bool]:
    found = [stops.measure(int(objects), given.rounds, _say) for objects in given.objects.split(",")]
    return stops.table(found), any(each.lost for each in found)


def _race(given: argparse.Namespace) -> tuple[str, bool]:
    found = race.measure(given.objects, given.rounds, given.seed, _say)
    return found.table(), bool(found.faults)


_PARTS: Final[dict[str, Callable[[argparse.Namespace], tuple[str, bool]]]] = {
    "matrix": _matrix,
    "stops": _stops,
    "race": _race,
}


def _write(part: str, text: str) -> None:
    """Replace what stands between the part's marks on the page."""
    page = _PAGE.read_text()
    marks = f"<!-- {part} -->\n", f"<!-- end of {part} -->"
    new, count = re.subn(f"{marks[0]}.*?{marks[1]}", lambda _: f"{marks[0]}{text}{marks[1]}", page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{_PAGE} has no place for {part}")
    _PAGE.write_text(new)


def _run(part: str, given: argparse.Namespace) -> bool:
    """Run one part. Returns: whether a promise was not kept."""
    text, is_broken = _PARTS[part](given)
    sys.stdout.write(text)
    sys.stdout.flush()
    if given.write:
        _write(part, text)
    return is_broken


def _of_matrix(part: argparse.ArgumentParser, rounds: int) -> None:
    part.add_argument("--rounds", type=int, default=rounds, help="how often B does every operation, under each trouble")
    part.add_argument("--only", metavar="WORDS", default="", help="only the troubles whose names hold these words")
    part.add_argument("--full", action="store_true", help="ten thousand objects at once instead of five hundred")
    part.add_argument("--into", type=Path, metavar="FILE", help="write every figure there, as JSON")


def _of_stops(part: argparse.ArgumentParser) -> None:
    part.add_argument("--objects", default="8,20,50", metavar="N,...", help="objects on the locked flag")
    part.add_argument("--rounds", type=int, default=20)


def _of_race(part: argparse.ArgumentParser) -> None:
    part.add_argument("--objects", type=int, default=60)
    part.add_argument("--rounds", type=int, default=3)
    part.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311 -- a scene, no secret


def main() -> int:
    """Run one of them, or all; 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.neighbours", description=(__doc__ or "").partition(": ")[2])
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    _of_matrix(parts.add_parser("matrix", help="for each trouble of A, how long B waits for each operation"), 10)
    _of_stops(parts.add_parser("stops", help="stops that are given in time while another flag is locked"))
    _of_race(parts.add_parser("race", help="stops and edits around the moment of a change"))
    parts.add_parser("all", help="the three of them with their defaults, into the page; --rounds is the matrix's")
    for name, part in parts.choices.items():
        part.add_argument("--write", action="store_true", default=name == "all", help="write the page, too")
    _of_matrix(parts.choices["all"], 6)
    given = parser.parse_args()
    if given.part != "all":
        return int(_run(given.part, given))
    defaults = {name: parser.parse_args([name, "--write"]) for name in ("stops", "race")}
    broken = [_run(name, values) for name, values in {"matrix": given, **defaults}.items()]
    return int(any(broken))


if __name__ == "__main__":
    sys.exit(main())
