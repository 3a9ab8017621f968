"""The command `python -m tests.bench`: runs the benchmarks, shows their table and writes their JSON."""

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import psycopg

import flagschedule
from tests.bench import lateness, peers, processor, scale
from tests.bench.results import Part

PARTS: dict[str, Part] = {"processor": processor, "scale": scale, "peers": peers, "lateness": lateness}


def main() -> int:
    """Run them all, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any, all of them")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a first look")
    parser.add_argument("--json", type=Path, help="write the results into this file, too")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    facts = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "psycopg": psycopg.__version__,
        "flagschedule": flagschedule.__version__,
        "size": "quick" if given.quick else "full",
    }
    sys.stdout.write(", ".join(f"{name} {value}" for name, value in facts.items()) + "\n")
    results = []
    for name in given.parts or PARTS:
        part = PARTS[name]
        for result in part.run(part.QUICK if given.quick else part.FULL, _progress):
            results.append(result.as_json())
            sys.stdout.write(f"| {result.name} | {result.median:.3g} {result.unit} | {_spread(result.rounds)} |\n")
            sys.stdout.flush()
            if given.json:  # after each, because the whole takes long and may be interrupted
                given.json.write_text(json.dumps({**facts, "results": results}, indent=2) + "\n")
    return 0


def _progress(line: str) -> None:
    sys.stderr.write(f"... {line}\n")


def _spread(rounds: list[float]) -> str:
    return f"{min(rounds):.3g} to {max(rounds):.3g}"


if __name__ == "__main__":
    sys.exit(main())
