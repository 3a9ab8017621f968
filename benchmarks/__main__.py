"""The command `python -m benchmarks`: runs the benchmarks, shows their table, and draws their plots."""

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

import flagschedule
from benchmarks import environments, forms, lateness, mirror, peers, processor, scale
from benchmarks.results import Part

PARTS: dict[str, Part] = {
    "processor": processor,
    "forms": forms,
    "scale": scale,
    "peers": peers,
    "lateness": lateness,
    "mirror": mirror,
}
_PLOTS = Path(__file__).parent / "programs" / "plots.py"


def main() -> int:
    """Run them all, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any, all of them")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a first look")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=NUMBER", help="another size, such as objects=50000"
    )
    parser.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="write benchmarks.json and the plots there; what it holds of other parts stays",
    )
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    sizes = {name: int(number) for name, _, number in (each.partition("=") for each in given.set)}
    for name in given.parts or PARTS:
        results: list[dict[str, Any]] = []
        size = " ".join(["quick" if given.quick else "full", *given.set])
        found = {**_facts(), "size": size, "results": results}
        sys.stdout.write(", ".join(f"{key} {value}" for key, value in found.items() if key != "results") + "\n")
        part = PARTS[name]
        for result in part.run(replace(part.QUICK if given.quick else part.FULL, **sizes), _progress):
            results.append(result.as_json())
            sys.stdout.write(f"| {result.name} | {result.median:.3g} {result.unit} | {_spread(result.rounds)} |\n")
            sys.stdout.flush()
            if given.into:  # after each part, because the whole run takes long and may be interrupted
                _keep(given.into / "benchmarks.json", name, found)
    if given.into:
        subprocess.run([environments.python(), _PLOTS, given.into / "benchmarks.json", given.into], check=True)
    return 0


def _facts() -> dict[str, Any]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "psycopg": psycopg.__version__,
        "flagschedule": flagschedule.__version__,
    }


def _keep(file: Path, name: str, found: dict[str, Any]) -> None:
    kept = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**kept, name: found}) + "\n")


def _progress(line: str) -> None:
    sys.stderr.write(f"... {line}\n")


def _spread(rounds: list[float]) -> str:
    return f"{min(rounds):.3g} to {max(rounds):.3g}"


if __name__ == "__main__":
    sys.exit(main())
