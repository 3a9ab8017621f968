"""The configuration for Alertmanager that the page shows, as Alertmanager's own tool judges it."""

import re
import subprocess
from pathlib import Path

import pytest

from dev.localkind.servers import prometheus
from tests.monitoring.test_alerts import ALERTS, ROOT

PAGE = ROOT / "docs" / "how-to" / "alerting.md"


def _amtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([prometheus.amtool(), *words], capture_output=True, text=True, check=False)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """The page's configuration, as a file."""
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "alertmanager.yml"
    file.write_text(text)
    return file


def test_alertmanager_takes_it(configuration: Path) -> None:
    """Each field and matcher exists, and a misspelt one is found."""
    done = _amtool("check-config", configuration)
    configuration.write_text(configuration.read_text().replace("api_key_file:", "api_key_path:"))
    misspelt = _amtool("check-config", configuration)

    assert (done.returncode, "SUCCESS" in done.stdout) == (0, True), done.stderr
    assert "3 receivers" in done.stdout
    assert misspelt.returncode != 0


@pytest.mark.parametrize(("severity", "receivers"), [("critical", "pagerduty,opsgenie,slack"), ("warning", "slack")])
def test_critical_alerts_call_a_person(configuration: Path, severity: str, receivers: str) -> None:
    """Each alert that is critical goes to all three services, and each warning to the channel alone."""
    names = [name for name, rule in ALERTS.items() if rule["labels"]["severity"] == severity]

    found = {
        _amtool(
            "config", "routes", "test", f"--config.file={configuration}", f"alertname={name}", f"severity={severity}"
        ).stdout.strip()
        for name in names
    }

    assert found == {receivers}


def test_the_texts_use_annotations_that_each_alert_has() -> None:
    """What the templates read is in every rule."""
    used = set(re.findall(r"Annotations\.(\w+)", PAGE.read_text()))

    assert {name for name, rule in ALERTS.items() if used - rule["annotations"].keys()} == set()
