"""The parts of the demo that need no cluster."""

import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import yaml

from dev.demo import clusters, commands, images, installation, samples
from dev.demo.choices import Choices
from dev.demo.commands import CommandFailedError, DemoError
from dev.demo.installation import check_address
from dev.demo.narrator import Narrator
from dev.localkind.servers import guard
from tests.waiting import eventually


@hypothesis.given(st.timedeltas(timedelta(0), timedelta(hours=1)))
def test_the_samples_are_due_in_seconds(passed: timedelta) -> None:
    """A sample is due in the future, by seconds, and a run starts within the minute."""
    now = datetime(2026, 11, 24, 9, 30, tzinfo=UTC) + passed
    due = samples.soon(now)

    assert timedelta(seconds=1) < due - now < timedelta(seconds=10)
    assert timedelta(0) < samples.next_minute(now) - now <= timedelta(minutes=1)


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("shop/flags", ("shop/flags", "latest", "")),
        ("shop/flags:1.2", ("shop/flags", "1.2", "")),
        ("registry:5000/flags", ("registry:5000/flags", "latest", "")),
        ("registry:5000/flags:1.2", ("registry:5000/flags", "1.2", "")),
        ("flags@sha256:abc", ("flags", "", "sha256:abc")),
    ],
)
def test_an_images_name_is_split_for_kustomize(image: str, parts: tuple[str, str, str]) -> None:
    """A name with port, tag or digest is split into the fields of kustomize."""
    assert images.split(image) == parts


def test_an_image_of_the_readers_is_installed(tmp_path: Path) -> None:
    """With DEMO_IMAGE all programs run from that image."""
    folder = images.overlay(clusters.OVERLAY, tmp_path / "overlay", "registry:5000/flags:1.2")

    rendered = commands.run([commands.kubectl_program(), "kustomize", folder])

    found = [line.split()[-1] for line in rendered.splitlines() if line.strip().startswith("image: ")]
    assert found == ["registry:5000/flags:1.2"] * 4


def test_all_that_the_demo_installs_is_marked() -> None:
    """Every object of the demo carries its mark, which distinguishes it from the objects of others."""
    rendered = commands.run([commands.kubectl_program(), "kustomize", clusters.OVERLAY])

    objects = rendered.split("\n---\n")
    assert len(objects) > 10
    assert all('flagschedule.io/demo: "true"' in obj for obj in objects)


def test_an_address_of_another_machine_is_refused() -> None:
    """DEMO_HOST must be an address of this machine; the sentence says what it is for."""
    with pytest.raises(DemoError, match=r"192\.0\.2\.1 is not an address of this machine.*DEMO_HOST"):
        check_address("192.0.2.1")


def test_an_image_without_a_context_is_refused() -> None:
    """DEMO_IMAGE means nothing for the demo's own cluster, and is not ignored silently."""
    with pytest.raises(DemoError, match="DEMO_CONTEXT"):
        Choices.from_environment({"DEMO_IMAGE": "shop/flags"})


@pytest.mark.parametrize(("value", "once"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_demo_once(value: str, once: bool) -> None:
    """DEMO_ONCE=0 means that the demo does not end by itself."""
    assert Choices.from_environment({"DEMO_ONCE": value}).once is once


def test_the_cluster_needs_root_without_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who is not root and has no Docker gets an error message before the demo changes anything."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("dev.localkind.kind_binary.is_own", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(DemoError, match="needs root"):
        clusters.OwnCluster(Narrator(io.StringIO()), tmp_path).check()


def test_the_demo_lingers_like_the_product() -> None:
    """The demo's processor is the one that is shipped, but for labels."""
    kubectl = commands.kubectl_program()
    shipped, shown = (
        next(
            obj["spec"]
            for obj in yaml.safe_load_all(commands.run([kubectl, "kustomize", installation.ROOT / folder]))
            if (obj["kind"], obj["metadata"]["name"]) == ("CronJob", "flagschedule-processor")
        )
        for folder in ("manifests/base", "dev/demo/overlay")
    )

    assert shown == shipped
    assert {"name": "FLAG_SCHEDULE_LINGER_SECONDS", "value": "65"} in _container(shown)["env"]


def _container(cronjob: dict[str, Any]) -> dict[str, Any]:
    (found,) = cronjob["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_plain_output_has_no_escape_codes() -> None:
    """Off a terminal the demo prints plain lines, and commands as one would type them."""
    stream = io.StringIO()
    narrator = Narrator(stream)
    narrator.headline("Title", "Because.")
    narrator.command("kubectl", "get", "x", "--output=jsonpath={.a}{.b}", "-f", "file.yaml")
    narrator.expect(truth=False, sentence="It works.")

    said = stream.getvalue()
    assert "\x1b" not in said
    assert "$ kubectl get x --output='jsonpath={.a}{.b}' -f file.yaml" in said
    assert narrator.failures == ["It works."]


def test_an_interrupted_command_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C while a program runs ends the program and its children before we go on."""
    file = tmp_path / "child"

    with pytest.raises(KeyboardInterrupt):
        # The shell's child prints its number and then stops us, often before we know that it was started.
        commands.run(["sh", "-c", f"sh -c 'echo $$ > {file}; kill -INT {os.getpid()}; sleep 60' & wait"])

    child = file.read_text()
    eventually(lambda: not guard.is_running(int(child)), "the child has ended")


def test_a_failed_command_shows_its_output() -> None:
    """The error of a program reaches the reader with the command."""
    with pytest.raises(CommandFailedError, match="`sh -c echo no >&2; exit 3` failed: no"):
        commands.run(["sh", "-c", "echo no >&2; exit 3"])
