"""Draws the plots of docs/explanation/benchmarks.md: `python plots.py BENCHMARKS.json FOLDER`.

Run by the suite with the Python of its own environment, which has matplotlib.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt


def history(results: list[dict[str, Any]], to: Path) -> None:
    """Rate against the size of history, each relative to the rate without any in the same round."""
    points = sorted((each for each in results if each["series"] == "history"), key=lambda each: each["at"])
    if not points:
        return
    rows = [each["at"] / 1e6 for each in points]
    medians = [statistics.median(each["rounds"]) for each in points]
    figure, axes = plt.subplots(figsize=(7, 3.5))
    spread = [
        [middle - min(each["rounds"]) for middle, each in zip(medians, points, strict=True)],
        [max(each["rounds"]) - middle for middle, each in zip(medians, points, strict=True)],
    ]
    axes.errorbar([0, *rows], [1, *medians], [[0, *spread[0]], [0, *spread[1]]], marker="o", capsize=3)
    axes.set(xlabel="rows of history, millions", ylabel="rate, without history = 1", ylim=(0, 1.1))
    axes.set_title("Schedules that lie scattered among history: how fast they are applied")
    _save(figure, to)


def lateness(results: list[dict[str, Any]], to: Path) -> None:
    """Which part of the schedules was applied within so many seconds of its time, for each way to run."""
    cases = [each for each in results if each["series"] == "lateness"]
    if not cases:
        return
    figure, axes = plt.subplots(figsize=(7, 3.5))
    for case in cases:
        axes.ecdf(case["rounds"], label=case["name"].removeprefix("lateness, "))
    axes.set(xscale="log", xlabel="seconds from due to applied", ylabel="part of the schedules")
    axes.set_title("Lateness with the real CronJob's pods")
    axes.legend(fontsize="small", loc=(0.3, 0.6))
    _save(figure, to)


def _save(figure: Any, to: Path) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(to, metadata={"Date": None})  # the same figures give the same file
    plt.close(figure)


if __name__ == "__main__":
    mpl.rcParams["svg.hashsalt"] = "flagschedule"
    parts = json.loads(Path(sys.argv[1]).read_text()).values()
    found = [result for part in parts for result in part["results"]]
    history(found, Path(sys.argv[2], "rate-by-history.svg"))
    lateness(found, Path(sys.argv[2], "lateness.svg"))
