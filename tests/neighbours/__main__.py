"""The command `python -m tests.neighbours`: measures what one tenant's trouble does to another."""

import argparse
import random
import sys
from pathlib import Path

from tests.neighbours import matrix, race, stops
from tests.neighbours.troubles import troubles


def _say(line: str) -> None:
    sys.stderr.write(f"... {line}\n")
    sys.stderr.flush()


def _matrix(given: argparse.Namespace) -> int:
    chosen = [each for each in troubles(full=given.full) if given.only in each.name]
    lines: list[matrix.Line] = []
    for each in chosen:
        lines.append(matrix.measure(each, given.rounds, _say))
        if given.into:
            matrix.keep(given.into, lines)
    sys.stdout.write(matrix.table(lines))
    return int(any(line.outside() for line in lines))


def _stops(given: argparse.Namespace) -> int:
    found = [stops.measure(int(objects), given.rounds, _say) for objects in given.objects.split(",")]
    sys.stdout.write("".join(f"{each.text()}\n" for each in found))
    return int(any(each.lost for each in found))


def _race(given: argparse.Namespace) -> int:
    sys.stdout.write(f"seed {given.seed}\n")
    found = race.measure(given.objects, given.rounds, given.seed, _say)
    sys.stdout.write(found.text() + "\n")
    return int(bool(found.faults))


def main() -> int:
    """Run one of them; 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.neighbours", description=(__doc__ or "").partition(": ")[2])
    parts = parser.add_subparsers(required=True, metavar="PART")
    part = parts.add_parser("matrix", help="for each trouble of A, how long B waits for what it asks")
    part.add_argument("--rounds", type=int, default=10, help="how often B asks for everything, under each trouble")
    part.add_argument("--only", metavar="WORDS", default="", help="only the troubles whose names hold these words")
    part.add_argument("--full", action="store_true", help="ten thousand objects at once instead of five hundred")
    part.add_argument("--into", type=Path, metavar="FILE", help="write every figure there, as JSON")
    part.set_defaults(run=_matrix)
    part = parts.add_parser("stops", help="stops that are given in time while another flag is locked")
    part.add_argument("--objects", default="8,20,50", metavar="N,...", help="objects on the locked flag")
    part.add_argument("--rounds", type=int, default=20)
    part.set_defaults(run=_stops)
    part = parts.add_parser("race", help="stops and edits around the moment of a change")
    part.add_argument("--objects", type=int, default=60)
    part.add_argument("--rounds", type=int, default=3)
    part.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311 -- a scene, no secret
    part.set_defaults(run=_race)
    given = parser.parse_args()
    code: int = given.run(given)
    return code


if __name__ == "__main__":
    sys.exit(main())
