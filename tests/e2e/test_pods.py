"""The product in pods: from YAML to the changed flag and back to the status, and what its pods may do."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from dev.demo.commands import CommandFailedError
from tests.e2e.pods import Pods

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]  # the first one waits for the cluster and for a minute

CACHE_KEY = "feature_flags:production"
README: Final = Path(__file__).parents[2] / "README.md"
_TIME: Final = re.compile(r'scheduledAt: "[^"]*"')
LONGEST_DELAY = timedelta(seconds=120)  # 60 until the next run begins; the rest is for a busy machine


def test_the_first_screen_of_the_readme_comes_true(pods: Pods) -> None:
    """The README's YAML is applied by the CronJob's next pod, and `kubectl get` prints what the README shows."""
    name, flag = "checkout-v2-launch", pods.database.flag("checkout-v2")
    pods.cache.set(CACHE_KEY, '{"checkout-v2": false}', ex=300)
    due = pods.clock(timedelta(seconds=5))
    pods.kubectl("apply", "-f", "-", stdin=_TIME.sub(f'scheduledAt: "{due:%FT%TZ}"', _block("yaml")))

    status = pods.wait(name, "condition=Applied", seconds=180)["status"]

    row = pods.schedule(name)
    assert timedelta(0) <= row["applied_at"] - due <= LONGEST_DELAY
    assert status["phase"] == "Applied"
    assert status["change"] == "enabled=true, rolloutPercentage=25"
    assert pods.database.state(flag) == (True, 25)
    assert not pods.cache.exists(CACHE_KEY)
    (pod,) = _processors_that_applied(pods, str(row["id"]))
    assert pod.startswith("flagschedule-processor-")
    promised = _rows(_block("console").partition("\n")[2])[name]
    found = _rows(pods.kubectl("get", "flagschedules", "--namespace", "shop"))[name]
    its_own = {"SCHEDULED": f"{due:%FT%TZ}", "AGE": found["AGE"]}
    assert found == promised | its_own


def _block(language: str) -> str:
    """Return the first block of the README in this language."""
    return README.read_text().partition(f"```{language}\n")[2].partition("```")[0]


def _rows(table: str) -> dict[str, dict[str, str]]:
    """Return what kubectl prints, by name and column."""
    header, *rows = [re.split(r"  +", line.strip()) for line in table.strip().splitlines()]
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def test_a_missing_flag_is_waited_for(pods: Pods) -> None:
    """A schedule for a missing flag waits, is mirrored when the flag appears, and is applied."""
    due = pods.plan("waiting", flag="not-yet")
    pods.wait("waiting", "jsonpath={.status.phase}=Waiting")

    flag = pods.database.flag("not-yet")
    pods.wait("waiting", "condition=Ready")
    pods.wait_until_due(due)
    pods.run_processor()

    assert pods.wait("waiting", "condition=Applied")["status"]["phase"] == "Applied"
    assert pods.database.state(flag) == (True, 25)


def test_deleting_the_object_cancels_the_change(pods: Pods) -> None:
    """An object deleted before its time is gone at once; its row stays, cancelled, and the flag as it was."""
    flag = pods.database.flag("banner")
    pods.plan("dropped", flag="banner", after=timedelta(hours=1))
    pods.wait("dropped", "condition=Ready")

    pods.kubectl("delete", "flagschedule/dropped", "--namespace=shop", "--timeout=120s")

    assert pods.schedule("dropped")["status"] == "cancelled"
    assert pods.database.state(flag) == (False, 0)


def test_everything_converges_after_the_operator_was_killed(pods: Pods) -> None:
    """What is created or applied while the operator is dead has the right row and status once it is back."""
    flag = pods.database.flag("survivor")
    due = pods.plan("mirrored-before", flag="survivor", after=timedelta(seconds=3))
    pods.wait("mirrored-before", "condition=Ready")

    pods.kill_operator()
    pods.plan("created-meanwhile", flag="survivor", after=timedelta(hours=1))
    pods.wait_until_due(due)
    assert pods.run_processor().exit_code == 0

    assert pods.wait("mirrored-before", "condition=Applied")["status"]["phase"] == "Applied"
    assert pods.wait("created-meanwhile", "condition=Ready")["status"]["phase"] == "Pending"
    assert pods.schedule("created-meanwhile")["status"] == "pending"
    assert pods.database.state(flag) == (True, 25)


def test_the_operators_container_is_restricted(pods: Pods) -> None:
    """The operator runs as an unprivileged user, without capabilities, and cannot write its root file system."""
    look = (
        "import os, re; print(os.getuid(), os.getgid(), re.findall('CapEff:.(.*)', open('/proc/self/status').read()))"
    )
    assert pods.in_operator(look).strip() == "65532 65532 ['0000000000000000']"

    write = "try: open('/x', 'w')\nexcept OSError as error: print(error.strerror)"
    assert pods.in_operator(write).strip() == "Read-only file system"


def test_the_processors_container_has_no_token(pods: Pods) -> None:
    """The processor cannot speak to the API server: its pod holds no token, and no rights beyond the operator's."""
    look = "import os; print(os.getuid(), os.path.exists('/var/run/secrets/kubernetes.io'), os.access('/', os.W_OK))"

    assert pods.run_processor(command=["python3", "-c", look]).log.strip() == "65532 False False"


@pytest.mark.parametrize(
    ("url", "exit_code"),
    [("mysql://root:s3cret@db/flags", 2), ("postgresql://root:s3cret@{host}:1/flags", 3)],
    ids=["not a Postgres URL", "no listener"],
)
def test_a_bad_database_url_is_reported_in_one_line(pods: Pods, url: str, exit_code: int) -> None:
    """With a bad DATABASE_URL the pod prints one line without a secret and ends with 2 or 3."""
    ended = pods.run_processor(database_url=url.format(host=pods.postgres.listen[0]))

    assert ended.exit_code == exit_code
    (line,) = ended.log.splitlines()
    assert "DATABASE_URL" in line
    assert "s3cret" not in line


def _processors_that_applied(pods: Pods, schedule_id: str) -> list[str]:
    """Return the processor pods whose log says that they applied a schedule."""
    processors = pods.system_pods("--selector=app.kubernetes.io/component=processor")
    names = [pod["metadata"]["name"] for pod in processors]
    return [name for name in names if any(_mentions(line, schedule_id) for line in _log(pods, name).splitlines())]


def _log(pods: Pods, name: str) -> str:
    """Return what a pod has printed; nothing, if the CronJob has deleted it since it was listed."""
    try:
        return pods.log(name)
    except CommandFailedError as error:
        if "NotFound" not in error.said:
            raise
        return ""


def _mentions(line: str, schedule_id: str) -> bool:
    return "Schedule applied" in line and json.loads(line)["scheduleId"] == schedule_id
