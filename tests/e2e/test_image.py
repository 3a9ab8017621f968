"""The contents of the image: Python, our programs, no other program; and the bill that lists them."""

import json
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import flagschedule
from dev.demo.installation import IMAGE
from dev.image import base, materials
from dev.localkind import engines
from dev.localkind.cache import cache_dir

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SIZE = 150_000_000


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the image."""
    folder = tmp_path_factory.mktemp("image")
    engines.choose(cache_dir(), base.image()).unpack(IMAGE, folder)
    return folder


@pytest.fixture(scope="module")
def bill(image: Path) -> str:
    """The bill of materials of the image."""
    return materials.text(image)


def _files(image: Path) -> Iterator[Path]:
    return (path for path in image.rglob("*") if path.is_file() and not path.is_symlink())


def test_only_python_and_our_program_can_be_started(image: Path) -> None:
    """The image has no shell, no package manager and no other tool that an intruder could use."""
    runnable = {path for path in _files(image) if path.stat().st_mode & 0o111 and ".so" not in path.name}
    inside = {f"/{path.relative_to(image)}" for path in runnable}

    interpreters = {name for name in inside if re.fullmatch(r"/usr(/local)?/bin/python3\.\d+", name)}
    scripts = {name for name in inside if "/lib/python3" in name}  # modules that are executable by mistake
    assert len(interpreters) == 1
    assert inside - interpreters - scripts == {"/opt/venv/bin/flagschedule"}
    assert not list(image.glob("opt/venv/lib/python3*/site-packages/pip"))


def test_no_user_gains_rights_or_changes_files(image: Path) -> None:
    """No file runs with its owner's rights, and all but /tmp belongs to root alone."""
    found = [path for path in image.rglob("*") if not path.is_symlink()]
    modes = {path: path.stat().st_mode for path in found}

    assert [path for path, mode in modes.items() if mode & (stat.S_ISUID | stat.S_ISGID)] == []
    assert [path for path, mode in modes.items() if mode & 0o022] == [image / "tmp"]
    assert {path.stat().st_uid for path in found} == {image.joinpath("usr").stat().st_uid}


def test_nothing_is_compiled_at_start(image: Path) -> None:
    """Every module is compiled in the image: on a read-only root file system no start could store the result."""
    modules = [path for path in _files(image) if path.suffix == ".py" and "lib2to3" not in path.parts]

    for path in modules:
        (compiled,) = path.parent.glob(f"__pycache__/{path.stem}.cpython-3??.pyc")
        assert compiled.read_bytes()[4] == 0b01, f"{path} is looked at again at each start"


def test_the_labels_say_what_it_is() -> None:
    """Version, commit, licence and base image can be read off the image by the names that tools look for."""
    found = engines.choose(cache_dir(), base.image()).inspect(IMAGE)
    assert found
    labels, size = found
    prefix = "org.opencontainers.image."
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout

    assert labels[f"{prefix}version"] == flagschedule.__version__
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert labels[f"{prefix}base.name"]
    assert labels[f"{prefix}revision"].partition("-")[0] == (commit[:12] or "unknown")
    assert size < SIZE


def test_the_bill_of_materials_lists_what_is_locked(bill: str) -> None:
    """Every package of the lock file is in the bill with its version, and so are Debian's; the bill is valid."""
    locked = dict(re.findall(r"^([\w.-]+)==([^ ;\\]+)", (ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE))
    listed = {component["purl"] for component in json.loads(bill)["components"]}

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    assert {f"pkg:pypi/{name}@{version}" for name, version in locked.items()} <= listed
    names = {purl.split("@")[0] for purl in listed}
    assert names >= {f"pkg:deb/debian/{name}" for name in ("ca-certificates", "libc6", "libssl3", "zlib1g")}
    assert names >= {f"pkg:generic/{name}" for name in ("libpq", "openssl", "krb5")}
    assert json.loads(bill)["metadata"]["component"]["purl"] == f"pkg:pypi/flagschedule@{flagschedule.__version__}"
