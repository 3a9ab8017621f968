"""The published chart names the published image: `python -m dev.chart package`, as the release workflow calls it."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

import flagschedule
from dev.chart import base, files, package
from dev.chart.values import ValuesError
from tests.chart.rendering import EVERYTHING, Helm, Render

IMAGE = "ghcr.io/example/flagschedule"
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
RUNBOOKS = "https://example.com/monitoring.md#"


@pytest.fixture(scope="module")
def archive(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive."""
    folder = tmp_path_factory.mktemp("package")
    done = subprocess.run(
        [sys.executable, "-m", "dev.chart", "package", IMAGE, DIGEST, RUNBOOKS, str(folder)],
        cwd=files.ROOT,
        env={**os.environ, "PATH": f"{helm.program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def published(helm: Helm, archive: Path) -> Render:
    """What the archive installs with every switch on."""
    done = helm("template", "x", str(archive), f"--api-versions={base.MUTATING}", values=EVERYTHING)
    assert done.returncode == 0, done.stderr
    assert "localhost" not in done.stdout
    return Render(filter(None, yaml.load_all(done.stdout, yaml.CSafeLoader)))


@pytest.mark.helm
def test_every_program_runs_the_published_image(published: Render) -> None:
    """Without any value the image is named by the digest that was pushed."""
    images = {template["spec"]["containers"][0]["image"] for template in published.templates().values()}

    assert images == {f"{IMAGE}:{flagschedule.__version__}@{DIGEST}"}


@pytest.mark.helm
def test_alerts_lead_to_the_published_runbooks(published: Render) -> None:
    """Each alert has a URL, not a path in a repository that the reader does not have."""
    rule = published.of("PrometheusRule").popitem()[1]["spec"]["groups"][0]["rules"][0]

    assert rule["annotations"]["runbook_url"] == RUNBOOKS + rule["alert"].lower()


@pytest.mark.helm
def test_nothing_that_describes_the_archive_names_this_machine(archive: Path) -> None:
    """Values, schema and README say the same as the values, and the command of the README installs the archive."""
    with tarfile.open(archive) as content:
        texts = {
            name: content.extractfile(f"flagschedule/{name}").read().decode()  # type: ignore[union-attr]  # they are files
            for name in ("values.yaml", "values.schema.json", "README.md")
        }

    for name, text in texts.items():
        assert package.LOCAL not in text, name
        assert IMAGE in text, name
    assert f"oci://{IMAGE}/charts/flagschedule --version {flagschedule.__version__}" in texts["README.md"]


def test_a_digest_that_is_none_is_refused(tmp_path: Path) -> None:
    """A push that printed nothing must not end in a chart that names the image by its tag."""
    with pytest.raises(ValuesError, match="not a digest"):
        package.package("helm", IMAGE, "null", RUNBOOKS, tmp_path)


def test_the_release_packages_the_chart_this_way() -> None:
    """The workflow calls this command with what it pushed, for both architectures, and pushes what it prints."""
    workflow = yaml.safe_load((files.ROOT / ".github" / "workflows" / "release.yaml").read_text())
    steps = {step.get("id"): step.get("run", "") for step in workflow["jobs"]["publish"]["steps"]}

    assert 'chart=$(.venv/bin/python -m dev.chart package "$NAME" "$image" "$runbooks" dist)' in steps["pushed"]
    assert 'helm push "$chart"' in steps["pushed"]
    assert "--platform linux/amd64,linux/arm64" in steps["pushed"]
    assert "helm package" not in steps["pushed"]
