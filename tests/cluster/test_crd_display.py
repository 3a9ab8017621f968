"""What a person sees: columns, explanations, samples, and an installation without warnings."""

import json

import pytest

from dev.localkind.control_plane import ControlPlane
from tests.cluster import freeze_corpus, plan_corpus
from tests.cluster.api import Api, flagfreeze, flagplan, flagschedule
from tests.cluster.conftest import BASE, ROOT
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
NARROW = "NAME FLAG CHANGE SCHEDULED PHASE AGE"
WIDE = f"{NARROW} ENVIRONMENT READY APPLIED-AT RETRIES BY REASON MESSAGE"
CONDITION = {"observedGeneration": 1, "lastTransitionTime": "2035-01-01T09:00:00Z"}


@pytest.fixture
def applied(api: Api) -> Api:
    """A namespace with one applied schedule."""
    api.create(flagschedule("launch", spec(environment="staging")))
    answer = api.set_status(
        "launch",
        observedGeneration=1,
        phase="Applied",
        change="enabled=true",
        scheduledAt="2035-01-01T09:00:00Z",
        reason="PartlySuperseded",
        message="Set enabled.",
        appliedAt="2035-01-01T09:00:12Z",
        retryCount=2,
        by="alice",
        conditions=[
            CONDITION | {"type": "Ready", "status": "True", "reason": "Applied", "message": "Ready's own words."},
            CONDITION | {"type": "Applied", "status": "True", "reason": "PartlySuperseded", "message": "Set enabled."},
        ],
    )
    assert answer.ok, answer.message
    return api


def cells(table: str) -> list[list[str]]:
    """Return the words of each line."""
    return [line.split() for line in table.splitlines()]


def test_the_columns_show_the_state(installed: ControlPlane, applied: Api) -> None:
    """`kubectl get fsched` shows flag, change, time and phase, in this order; the future is no `<invalid>`."""
    header, row = cells(installed.kubectl("get", "fsched", f"--namespace={applied.namespace}"))

    assert header == NARROW.split()
    assert row[:-1] == ["launch", "checkout", "enabled=true", "2035-01-01T09:00:00Z", "Applied"]


def test_the_wide_columns_show_the_rest(installed: ControlPlane, applied: Api) -> None:
    """`-o wide` adds environment, Ready, times, retries, who, and the reason and message that matter most."""
    header, row = cells(installed.kubectl("get", "fsched", "--output=wide", f"--namespace={applied.namespace}"))

    assert header == WIDE.split()
    assert row[6:] == ["staging", "True", "2035-01-01T09:00:12Z", "2", "alice", "PartlySuperseded", "Set", "enabled."]


def test_the_columns_of_a_plan_show_what_comes_and_what_was(installed: ControlPlane, api: Api) -> None:
    """`kubectl get fplan` shows the next and the last time; `-o wide` adds the flags and why it stands there."""
    plans = api.of("flagplans")
    assert plans.create(flagplan("hours", plan_corpus.recurring())).ok
    answer = plans.set_status(
        "hours",
        phase="Active",
        reason="Planned",
        message="Goes on.",
        flags="checkout, banner",
        by="alice",
        next={"step": "first", "at": "2035-01-02T08:00:00Z", "change": "checkout: enabled=true"},
        last={"step": "first", "at": "2035-01-01T08:00:00Z", "part": "Start", "outcome": "Applied"},
        conditions=[CONDITION | {"type": "Ready", "status": "True", "reason": "Planned", "message": "Goes on."}],
    )
    assert answer.ok, answer.message
    place = f"--namespace={api.namespace}"

    header, row = cells(installed.kubectl("get", "fplan", place))
    assert header == ["NAME", "NEXT", "LAST", "PHASE", "AGE"]
    assert row[:-1] == ["hours", "2035-01-02T08:00:00Z", "2035-01-01T08:00:00Z", "Active"]
    header, row = cells(installed.kubectl("get", "fplan", "--output=wide", place))
    assert header[5:] == ["FLAGS", "BY", "READY", "REASON", "MESSAGE"]
    assert row[5:] == ["checkout,", "banner", "alice", "True", "Planned", "Goes", "on."]


def test_the_columns_of_a_freeze_show_until_when_and_what_it_holds(installed: ControlPlane, api: Api) -> None:
    """`kubectl get ffreeze` shows why, whether it is active, until when and how much it holds."""
    freezes, name = api.of("flagfreezes"), f"freeze-{api.namespace}"
    assert freezes.create(flagfreeze(name, freeze_corpus.once())).ok
    answer = freezes.set_status(
        name,
        phase="Active",
        message="Holds.",
        held=3,
        until="2036-01-04T07:00:00Z",
        nextWindow={"from": "2036-12-19T16:00:00Z", "until": "2037-01-04T07:00:00Z"},
        conditions=[CONDITION | {"type": "Active", "status": "True", "reason": "Frozen", "message": "Holds."}],
    )
    assert answer.ok, answer.message

    header, row = cells(installed.kubectl("get", "ffreeze", name, "--output=wide"))

    assert header == ["NAME", "REASON", "ACTIVE", "UNTIL", "HELD", "AGE", "NEXT", "PHASE", "MESSAGE"]
    assert row[:8] == [name, "INC-4711:", "checkout", "is", "down", "True", "2036-01-04T07:00:00Z", "3"]
    assert row[9:] == ["2036-12-19T16:00:00Z", "Active", "Holds."]
    assert freezes.delete(name).ok


def test_all_kinds_are_listed_together(installed: ControlPlane, api: Api) -> None:
    """`kubectl get flags` lists schedules, plans and freezes."""
    assert api.create(flagschedule("launch", spec())).ok
    assert api.of("flagplans").create(flagplan("hours", plan_corpus.recurring())).ok

    found = installed.kubectl("get", "flags", f"--namespace={api.namespace}", "--output=name").split()

    assert {"flagschedule.flagschedule.io/launch", "flagplan.flagschedule.io/hours"} <= set(found)


def test_schedules_sort_by_the_time_in_their_status(installed: ControlPlane, api: Api) -> None:
    """`--sort-by=.status.scheduledAt` is the order of time for all written offsets; the spec's text is not."""
    times = {"first": ("2035-01-01T12:00:00+05:00", 7), "second": ("2035-01-01T09:00:00Z", 9),
             "third": ("2035-01-01T04:00:00-06:00", 10)}  # fmt: skip
    for name, (text, hour) in times.items():
        api.create(flagschedule(name, spec(scheduledAt=text)))
        assert api.set_status(name, scheduledAt=f"2035-01-01T{hour:02}:00:00Z").ok
    api.create(flagschedule("unseen", spec()))

    found = installed.kubectl(
        "get", "fsched", f"--namespace={api.namespace}", "--sort-by=.status.scheduledAt", "--output=name"
    )

    names = [name.rpartition("/")[2] for name in found.split()]
    assert [name for name in names if name != "unseen"] == list(times)


def test_schedules_can_be_selected_by_flag(installed: ControlPlane, api: Api) -> None:
    """`--field-selector spec.flagKey=…` finds the schedules of one flag."""
    api.create(flagschedule("a", spec(flagKey="one")))
    api.create(flagschedule("b", spec(flagKey="two")))

    found = installed.kubectl(
        "get", "fsched", f"--namespace={api.namespace}", "--field-selector=spec.flagKey=two", "--output=name"
    )

    assert found.split() == ["flagschedule.flagschedule.io/b"]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("flagplan.spec.steps.cron", "The local times at which the step starts"),
        ("flagplan.spec.timeZone", "Required with cron"),
        ("flagplan.status.waitingFor", "waits for nothing but its time"),
        ("flagfreeze.spec", "An edit has its effect within a second"),
        ("flagfreeze.spec.windows.for", "How long the window lasts"),
    ],
)
def test_kubectl_explains_plans_and_freezes(installed: ControlPlane, field: str, text: str) -> None:
    """`kubectl explain` has a text for each field of the other kinds, too."""
    assert text in " ".join(installed.kubectl("explain", field).split())


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("spec", "create a FlagSchedule with a new name for the next change"),
        ("spec.environment", "Defaults to production"),
        ("spec.scheduledAt", "RFC 3339 with an offset"),
        ("spec.updates.rolloutPercentage", "from 0 to 100"),
        ("spec.startingDeadlineSeconds", "Defaults to no limit"),
        ("status.phase", "for people"),
        ("status.conditions", "accepted and mirrored"),
    ],
)
def test_kubectl_explains_each_field(installed: ControlPlane, field: str, text: str) -> None:
    """`kubectl explain` has a text for each field."""
    explanation = " ".join(installed.kubectl("explain", f"flagschedule.{field}").split())

    assert text in explanation


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_every_sample_is_let_in(installed: ControlPlane, api: Api, sample: object) -> None:
    """The samples are accepted as they stand, also by the policies. Not stored: a freeze would hold all tests."""
    applied = installed.kubectl(
        "apply", "--server-side", "--dry-run=server", f"--namespace={api.namespace}", "--filename", str(sample)
    )

    assert "serverside-applied" in applied


@pytest.fixture(scope="module")
def dry_run(installed: ControlPlane) -> str:
    """The answer to applying the base once more, warnings included."""
    return installed.kubectl("apply", "--server-side", "--dry-run=server", "--kustomize", str(BASE), "--output=json")


def test_the_base_applies_without_warnings(installed: ControlPlane, dry_run: str) -> None:
    """Nothing of the base violates Pod Security restricted; kubectl would turn a warning into an error."""
    objects = json.loads(dry_run)["items"]
    installed.kubectl("apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "--kustomize", str(BASE))

    assert {obj["kind"] for obj in objects} >= {"Deployment", "CronJob", "Job", "CustomResourceDefinition"}


def test_pod_security_is_enforced(installed: ControlPlane, dry_run: str) -> None:
    """Every pod template of the base is accepted as a pod in the namespace, which refuses an ordinary pod."""
    templates = [template for obj in json.loads(dry_run)["items"] if (template := pod_template(obj))]
    for number, template in enumerate(templates):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, "spec": template["spec"]}
        create(installed, pod)
    ordinary = {"containers": [{"name": "c", "image": "localhost/flagschedule:dev"}]}

    assert len(templates) == 4
    with pytest.raises(Exception, match="violates PodSecurity"):
        create(installed, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": ordinary})


def pod_template(obj: dict[str, object]) -> dict[str, object] | None:
    """Return the pod template of a Deployment, Job or CronJob."""
    found: object = obj.get("spec")
    if obj["kind"] == "CronJob":
        found = found["jobTemplate"]["spec"]  # type: ignore[index]
    return found["template"] if obj["kind"] in {"CronJob", "Deployment", "Job"} else None  # type: ignore[index]


def create(control_plane: ControlPlane, obj: dict[str, object]) -> None:
    """Request a creation as a dry run."""
    control_plane.kubectl(
        "create", "--dry-run=server", "--namespace=flagschedule-system", "-f", "-", input=json.dumps(obj)
    )
