"""Which files of the chart are generated, and what they must hold. Called by `python -m dev.chart` and a test."""

import json
import textwrap
from pathlib import Path
from typing import Final

from dev.chart import alerts, readme, schema, values

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm" / "flagschedule"

# Helm reads only files inside the chart, so files of other folders are copied into it.
_COPIES: Final = {
    "files/flagfreezes.yaml": "crds/flagfreezes.yaml",
    "files/flagplans.yaml": "crds/flagplans.yaml",
    "files/flagschedules.yaml": "crds/flagschedules.yaml",
    "files/dashboard.json": "manifests/components/monitoring/dashboard.json",
}


def generated() -> dict[Path, str]:
    """Return every generated file, with its text.

    Raises:
        ValuesError: values.yaml breaks a rule.
    """
    return {
        **described(CHART),
        CHART / "files" / "rules.yaml": textwrap.dedent(alerts.FILE.read_text().partition("\nspec:\n")[2]),
        **{CHART / copy: (ROOT / original).read_text() for copy, original in _COPIES.items()},
    }


def described(chart: Path) -> dict[Path, str]:
    """Return what is generated from the values of a chart, ours or a copy of it: its schema and its README.

    Raises:
        ValuesError: values.yaml breaks a rule.
    """
    found = values.read(chart / "values.yaml")
    file = chart / "README.md"
    return {
        chart / "values.schema.json": json.dumps(schema.schema(found), indent=2, ensure_ascii=False) + "\n",
        file: readme.filled(file.read_text(), found),
    }
