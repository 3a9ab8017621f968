"""The example of the timeline in the documentation, and pictures of it as a browser shows it.

The commands: `python -m dev.timeline`, a part of `make generate`, writes the page; `python -m dev.timeline picture`, as
`make plugin-picture` does, opens it in a headless Chromium (Debian: apt-get install chromium), wide and narrow.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from flagschedule.plugin import page
from flagschedule.plugin.forecast import forecast
from flagschedule.plugin.objects import Obj

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "how-to" / "timeline.html"
WIDTHS: Final = (1200, 400)
_NOW: Final = datetime(2035, 1, 15, 7, 0, tzinfo=UTC)
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
# A headless Chromium lays out no window below 500 pixels, so the page is shown in a frame of the width.
_FRAME: Final = (
    '<!doctype html><body style="margin:0"><iframe src="{}" style="border:0;width:{}px;height:{}px"></iframe>'
)


def example() -> str:
    """Return the page of a week with a launch, a ramp, office hours and two freezes."""
    plan = forecast(_objects(), _NOW, _NOW + timedelta(days=7))
    return page.as_page(plan, "Feature flag timeline")


def _objects() -> Iterator[Obj]:
    def change(flag: str, **fields: Any) -> dict[str, Any]:
        return {"flagKey": flag, **fields}

    share = "rolloutPercentage"
    ramp = [
        {
            "name": "five",
            "at": "2035-01-16T09:00:00Z",
            "changes": [change("search-v3", updates={"enabled": True, share: 5})],
        },
        {"name": "quarter", "after": "24h", "changes": [change("search-v3", updates={share: 25})]},
        {"name": "all", "after": "48h", "approval": True, "changes": [change("search-v3", updates={share: 100})]},
    ]
    hours = change("support-chat", updates={"enabled": True}, then={"enabled": False})
    office = {"name": "hours", "cron": "0 9 * * 1-5", "until": "17:00", "changes": [hours]}
    launch = {"flagKey": "checkout-v2", "scheduledAt": "2035-01-18T08:00:00Z", "updates": {"enabled": True, share: 50}}
    banner = {"flagKey": "winter-banner", "scheduledAt": "2035-01-20T00:00:00Z", "updates": {"enabled": False}}
    late = {"from": "2035-01-19T16:00:00Z", "until": "2035-01-21T07:00:00Z"}
    yield _obj("FlagPlan", "search-v3-ramp", {"steps": ramp})
    yield _obj("FlagPlan", "support-hours", {"timeZone": "Europe/Oslo", "steps": [office]})
    yield _obj("FlagSchedule", "checkout-v2-launch", launch)
    yield _obj("FlagSchedule", "winter-banner-off", banner)
    yield _obj("FlagFreeze", "weekend", {"reason": "No changes over the weekend", "windows": [late]})


def _obj(kind: str, name: str, spec: dict[str, Any]) -> Obj:
    place = {} if kind == "FlagFreeze" else {"namespace": "shop"}
    metadata = {"name": name, "uid": name, "generation": 1, "creationTimestamp": "2035-01-02T09:00:00Z", **place}
    status = {"observedGeneration": 1, "phase": "Active" if kind == "FlagPlan" else "Pending"}
    return Obj({"kind": kind, "metadata": metadata, "spec": spec, "status": status})


def pictures(folder: Path) -> list[Path]:
    """Take pictures of the page, wide and narrow. Returns: the files."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        sys.exit("timeline: no Chromium found; on Debian: apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    return [_picture(browser, folder / f"timeline-{width}.png", width) for width in WIDTHS]


def _picture(browser: str, file: Path, width: int) -> Path:
    height = 1100 if width < max(WIDTHS) else 800
    with tempfile.TemporaryDirectory() as place:
        made, frame = Path(place) / "timeline.html", Path(place) / "frame.html"
        made.write_text(example())
        frame.write_text(_FRAME.format(made.as_uri(), width, height))
        options = ("--headless", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={place}/profile")
        root = ("--no-sandbox",) if Path("/proc/self").stat().st_uid == 0 else ()  # Chromium refuses root a sandbox
        command = [browser, *options, *root, f"--window-size={width},{height}", f"--screenshot={file}", frame.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    return file


def main() -> None:
    """Write the page, or take the pictures."""
    if sys.argv[1:] == ["picture"]:
        for file in pictures(ROOT / "build"):
            print(f"==> {file}")
        return
    PAGE.write_text(example())
    print(f"==> {PAGE.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
