"""The alerts, as Prometheus' own tool judges them: each fires for what it is for, and ends with it."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.localkind.servers import prometheus

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "manifests" / "components" / "monitoring" / "rules.yaml"
GROUPS = yaml.safe_load(RULES.read_text())["spec"]["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}

# The alerts on single steps, and the reason of the Event that each counts.
COUNTED = {
    "FlagScheduleRetriesExhausted": "RetriesExhausted",
    "FlagScheduleEditTooLate": "EditTooLate",
    "FlagPlanStepNotMade": "StepNotMade",
}


@dataclass(frozen=True)
class Case:
    """One alert: its series is well for an hour, bad for an hour, and well again. One value for each minute."""

    alert: str
    series: str
    well: str
    bad: str
    after: int  # minutes of it until the alert must fire


CASES = [
    Case("FlagScheduleProcessorNotRunning", "flagschedule_last_run_age_seconds", "300", "301", 1),
    Case("FlagScheduleLate", "flagschedule_oldest_due_seconds", "120", "121", 2),
    Case("FlagScheduleBacklog", "flagschedule_due_schedules", "500", "501", 3),
    Case("FlagScheduleRetryBacklog", "flagschedule_retrying_schedules", "50", "51", 3),
    Case("FlagScheduleDatabaseDown", "flagschedule_database_up", "1", "0", 3),
    Case("FlagScheduleOperatorDown", "flagschedule_leader", "1", "0", 3),
    Case("FlagScheduleOperatorDown", "flagschedule_leader", "1", "_", 9),  # gone: its last value counts for 5 minutes
    Case("FlagScheduleCacheStale", 'flagschedule_outbox_entries{outbox="cache"}', "0", "1", 12),
    Case("FlagScheduleStatusesWait", 'flagschedule_outbox_entries{outbox="status"}', "0", "1", 12),
    Case("FlagPlanWindowOpen", "flagschedule_open_windows_past_end", "0", "1", 6),
    Case("FlagFreezeOrphaned", "flagschedule_orphan_freezes", "0", "1", 2),
]


def _promtool(*words: str | Path) -> str:
    done = subprocess.run([prometheus.programs() / "promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _check(folder: Path, alert: str, series: str, values: str, fires: dict[int, bool]) -> None:
    """Call promtool to see whether the alert fires at each of these minutes."""
    bare = [{key: value for key, value in rule.items() if key != "annotations"} for rule in ALERTS.values()]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": bare}]}))
    expected: list[dict[str, Any]] = [
        {
            "eval_time": f"{minute}m",
            "alertname": alert,
            "exp_alerts": [{"exp_labels": ALERTS[alert]["labels"]}] if firing else [],
        }
        for minute, firing in fires.items()
    ]
    inputs = [{"series": series, "values": values}]
    test = {"interval": "1m", "input_series": inputs, "alert_rule_test": expected}
    (folder / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    _promtool("test", "rules", folder / "tests.yaml")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.bad}")
def test_it_fires_and_ends(case: Case, tmp_path: Path) -> None:
    """An alert is silent at the last good value, fires after the promised time at a bad one, and then ends."""
    values = f"{case.well}x59 {case.bad}x59 {case.well}x59"
    fires = {59: False, 60 + case.after: True, 118: True, 121: False}
    _check(tmp_path, case.alert, case.series, values, fires)


@pytest.mark.parametrize("alert", COUNTED)
def test_one_step_alerts_and_then_ends(tmp_path: Path, alert: str) -> None:
    """One such step fires for a quarter of an hour; a restart of the operator fires nothing."""
    series = f'flagschedule_transitions_total{{reason="{COUNTED[alert]}"}}'
    fires = {29: False, 32: True, 50: False, 95: False}
    _check(tmp_path, alert, series, "3x30 4x60 0x60", fires)


def test_schedules_that_every_run_leaves_alert(tmp_path: Path) -> None:
    """A run that left something is no alarm; that each one did for ten minutes is, until they end it."""
    series = "flagschedule_skipped_schedules_total"
    fires = {9: False, 25: False, 38: False, 45: True, 60: True, 70: False}
    _check(tmp_path, "FlagScheduleSkipped", series, "0x9 1x19 2+1x30 32x60", fires)


def test_a_plan_whose_rows_end_soon_alerts(tmp_path: Path) -> None:
    """Rows until the third hour are enough until half an hour before; then it fires, until there are more."""
    series = "flagschedule_planned_until_timestamp_seconds"
    fires = {149: False, 159: False, 161: True, 189: True, 192: False}
    _check(tmp_path, "FlagPlanHorizon", series, "10800x189 604800x60", fires)


def test_every_alert_is_tried() -> None:
    """Every rule has a test in which it fires."""
    assert {case.alert for case in CASES} | COUNTED.keys() | {"FlagScheduleSkipped", "FlagPlanHorizon"} == set(ALERTS)


def test_the_rules_are_well_formed(tmp_path: Path) -> None:
    """Prometheus accepts the rules, and their texts can be rendered."""
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": GROUPS}))

    assert f"{len(ALERTS)} rules found" in _promtool("check", "rules", file)


def test_every_alert_says_what_to_do() -> None:
    """Each has a severity, two sentences for people, and a section of the page of alerts."""
    sections = {
        line.lower()
        for line in re.findall(r"^### (\w+)$", (ROOT / "docs/how-to/monitoring.md").read_text(), re.MULTILINE)
    }

    assert sections == {alert.lower() for alert in ALERTS}
    for alert, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert rule["annotations"]["runbook"] == f"docs/how-to/monitoring.md#{alert.lower()}"
