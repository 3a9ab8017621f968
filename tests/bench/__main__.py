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
from tests.bench.suite import Size, run

SIZES = {"quick": Size(due=5_000, history=100_000, rounds=3), "full": Size()}


def main() -> int:
    """Run them all."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--size", choices=SIZES, default="full", help="quick takes some minutes; full is what counts")
    parser.add_argument("--json", type=Path, help="write the results into this file, too")
    given = parser.parse_args()
    facts = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "psycopg": psycopg.__version__,
        "flagschedule": flagschedule.__version__,
        "size": vars(SIZES[given.size]),
    }
    sys.stdout.write(", ".join(f"{name} {value}" for name, value in facts.items()) + "\n")
    results = []
    for result in run(SIZES[given.size], _progress):
        results.append(result)
        sys.stdout.write(f"| {result.name} | {result.median:.3g} {result.unit} | {_spread(result.rounds)} |\n")
        sys.stdout.flush()
    if given.json:
        given.json.write_text(json.dumps({**facts, "results": [each.as_json() for each in results]}, indent=2) + "\n")
    return 0


def _progress(line: str) -> None:
    sys.stderr.write(f"... {line}\n")


def _spread(rounds: list[float]) -> str:
    return f"{min(rounds):.3g} to {max(rounds):.3g}"


if __name__ == "__main__":
    sys.exit(main())
