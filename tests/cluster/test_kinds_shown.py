"""What `kubectl get fplan,fsched,flagfreeze` shows in README.md is what a real API server prints.

`UPDATE_DOCS=1` rewrites the page instead of comparing it.
"""

import re
from datetime import timedelta
from typing import Any, Final

import pytest

from dev.localkind.control_plane import ControlPlane
from tests.cluster.api import eventually, flagfreeze, flagplan
from tests.cluster.conftest import ROOT
from tests.cluster.operator_fixtures import Scene
from tests.cluster.test_phases_shown import block, laid_out

pytestmark = pytest.mark.apiserver

# Moments of the test are replaced by those of the page.
LAST, NEXT = "2026-12-01T09:00:00Z", "2026-12-02T09:00:00Z"
FREEZE: Final = "end-of-year"


def share(percentage: int) -> list[dict[str, Any]]:
    """Changes that set a percentage."""
    return [{"flagKey": "checkout-v2", "updates": {"rolloutPercentage": percentage}}]


def test_the_readme_shows_what_kubectl_prints_of_all_kinds(installed: ControlPlane, scene: Scene) -> None:
    """A ramp after its first step, a schedule to come, and a freeze whose window is to come."""
    scene.database.flag("checkout-v2")
    scene.create("banner-off", flagKey="winter-banner", scheduledAt="2035-12-24T08:00:00Z", updates={"enabled": False})
    plans, freezes = scene.api.of("flagplans"), scene.api.of("flagfreezes")
    begin = scene.database.value("""SELECT to_char(now() - %s, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""", timedelta(seconds=5))
    steps = [
        {"name": "quarter", "at": begin, "changes": share(25)},
        {"name": "all", "after": "24h", "changes": share(100)},
    ]
    tracked = {"argocd.argoproj.io/tracking-id": "shop:flagschedule.io/FlagPlan:checkout-v2-ramp"}
    assert plans.create(flagplan("checkout-v2-ramp", {"steps": steps}, annotations=tracked)).ok
    window = {"from": "2035-12-19T16:00:00Z", "until": "2036-01-04T07:00:00Z"}
    wish = {"reason": "no launches at the end of the year", "namespaces": [scene.api.namespace], "windows": [window]}
    assert freezes.create(flagfreeze(FREEZE, wish)).ok
    try:
        eventually(lambda: plans.get("checkout-v2-ramp").get("status", {}).get("next"), "the first step is planned")
        scene.process()

        def is_shown() -> bool:
            ramp = plans.get("checkout-v2-ramp")["status"]
            return ramp.get("next", {}).get("step") == "all" and "phase" in freezes.get(FREEZE).get("status", {})

        eventually(is_shown, "the second step is planned, and the freeze is known")
        scene.reaches("banner-off", "Waiting")
        printed = installed.kubectl("get", "fplan,fsched,flagfreeze", f"--namespace={scene.api.namespace}")
    finally:
        freezes.delete(FREEZE)
        eventually(lambda: freezes.get(FREEZE)["kind"] == "Status", "the freeze is gone")

    tables = [_table(text) for text in printed.strip().split("\n\n")]
    text = "$ kubectl get fplan,fsched,flagfreeze --namespace shop\n" + "\n\n".join(map(laid_out, tables))
    shown, wanted = block(ROOT / "README.md", "kinds", text)
    assert shown == wanted


def _table(text: str) -> list[list[str]]:
    """Header and rows; the ages and moments of this run are replaced, and other tests' freezes left out."""
    lines = text.splitlines()
    starts = [found.start() for found in re.finditer(r"\S+", lines[0])]
    rows = [[line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)] for line in lines]
    header = rows[0]
    kept = [row for row in rows[1:] if "flagfreeze" not in row[0] or row[0].endswith(f"/{FREEZE}")]
    for row in kept:
        row[header.index("AGE")] = "8d"
        for name, moment in (("LAST", LAST), ("NEXT", NEXT)):
            if name in header:
                row[header.index(name)] = moment
        row[:] = [re.sub(r"^203([56])-", lambda found: f"202{int(found[1]) + 1}-", cell) for cell in row]
    return [header, *kept]
