"""What goes into the image, and when it is built again."""

import re
import zipfile
from pathlib import Path

import pytest

from dev.image import base, context

DOCKERFILE = (context.ROOT / "Dockerfile").read_text()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small copy of the inputs."""
    for name in context.INPUTS:
        target = tmp_path / name
        if (context.ROOT / name).is_dir():
            target.mkdir()
            (target / "file").write_text("text")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("text")
    return tmp_path


def test_nothing_changed_nothing_to_build(tree: Path) -> None:
    """The fingerprint is the same for the same inputs; other files do not change it."""
    before = context.fingerprint(tree, "base")
    (tree / "notes").write_text("not an input")
    (tree / "operator" / "__pycache__").mkdir()
    (tree / "operator" / "__pycache__" / "x.pyc").write_text("not an input")

    assert context.fingerprint(tree, "base") == before


@pytest.mark.parametrize("name", context.INPUTS)
def test_every_input_counts(tree: Path, name: str) -> None:
    """An edit of any input, a new file in it, or another base image means another image."""
    before = context.fingerprint(tree, "base")
    path = tree / name
    (path / "new" if path.is_dir() else path).write_text("other")

    assert context.fingerprint(tree, "base") != before
    assert context.fingerprint(tree, "other base") != context.fingerprint(tree, "base")


def test_the_context_holds_what_the_dockerfile_copies() -> None:
    """Dockerfile, .dockerignore and the staged context name the same files."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    copied = {name for line in lines for name in line.split()} - {"wheels*"}
    ignore = (context.ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignore if line.startswith("!")} - {"wheels"}

    assert copied == let_in == set(context.INPUTS) - {"Dockerfile", ".dockerignore"}


def test_the_image_runs_as_a_fixed_user_without_a_base() -> None:
    """The last stage starts from nothing, runs nothing, and names a numeric user so that Kubernetes can check it."""
    base, last = DOCKERFILE.rsplit("\nFROM ", 1)[1].split("\n", 1)

    assert base == "scratch"
    assert "USER 65532:65532" in last
    assert 'ENTRYPOINT ["flagschedule"]' in last
    assert [line for line in last.splitlines() if line.startswith(("RUN", "COPY", "ADD"))] == [
        "COPY --from=build /root-fs /",
        "COPY --from=build /opt/venv /opt/venv",
    ]
    assert "--without-pip /opt/venv" in DOCKERFILE


def test_the_base_image_can_be_named_by_digest() -> None:
    """Every stage takes the base image from one argument, so that a release can name it by digest."""
    assert "ARG PYTHON_IMAGE=" in DOCKERFILE.partition("\nFROM ")[0]
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON_IMAGE}", "scratch"]
    assert "base.name=${PYTHON_IMAGE}" in DOCKERFILE


def test_every_install_checks_hashes() -> None:
    """Every package that comes from an index is locked."""
    installs = [line for line in DOCKERFILE.splitlines() if "pip" in line and "install --" in line]

    assert len(installs) == 3
    assert [line for line in installs if "--require-hashes" not in line and "dist/*.whl" not in line] == []


def test_the_base_image_is_named_after_its_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another recipe makes another base image; the same one is found again."""
    before = base.name()
    assert base.name() == before

    monkeypatch.setattr(base, "SUITE", "trixie")

    assert base.name() != before


def test_a_library_for_another_processor_is_found(tmp_path: Path) -> None:
    """Of the wheels for a processor, a library for another one and what is no library at all are named."""
    amd64, arm64 = (b"\x7fELF\x02".ljust(18, b"\0") + number.to_bytes(2, "little") for number in (62, 183))
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        for name, head in {"a.so": arm64, "x.libs/libb.so.5": amd64, "c.so": b"text", "d.py": b""}.items():
            wheel.writestr(name, head)

    assert context.foreign(tmp_path, "aarch64") == ["x.whl: x.libs/libb.so.5", "x.whl: c.so"]
