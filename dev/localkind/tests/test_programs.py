"""Which programs are built, by which Go, under which key; and what a person sees meanwhile."""

import dataclasses
import io
import shutil
from pathlib import Path

import pytest

from dev.localkind import go, programs, system
from dev.localkind.progress import Progress, duration


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the Go modules that may be changed."""
    copy = tmp_path / "programs"
    shutil.copytree(go.PROGRAMS, copy)
    monkeypatch.setattr(go, "PROGRAMS", copy)
    return copy


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_a_changed_source_is_a_new_key(sources: Path, file: str) -> None:
    """What the module is made of decides where its programs are kept; other modules stay where they are."""
    modules = (programs.NODE, programs.CONTAINERD, programs.COREDNS)
    before = [programs.folder_of(module, "1.26.6") for module in modules]
    with (sources / "node" / file).open("a") as changed:
        changed.write("\n")
    after = [programs.folder_of(module, "1.26.6") for module in modules]
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_another_compiler_or_flag_is_a_new_key() -> None:
    """Programs of another Go or of other flags are never taken for these."""
    flagged = dataclasses.replace(programs.NODE, flags=("-ldflags", "-s"))
    keys = [
        programs.folder_of(programs.NODE, "1.26.6"),
        programs.folder_of(programs.NODE, "1.26.7"),
        programs.folder_of(flagged, "1.26.6"),
    ]
    assert len(set(keys)) == 3


def test_the_oldest_version_is_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests run on the newest Kubernetes unless the variable chooses the oldest; another word is refused."""
    monkeypatch.delenv("FLAGSCHEDULE_KUBERNETES", raising=False)
    assert programs.control_plane() is programs.NODE
    monkeypatch.setenv("FLAGSCHEDULE_KUBERNETES", "oldest")
    assert programs.control_plane() is programs.OLDEST
    monkeypatch.setenv("FLAGSCHEDULE_KUBERNETES", "1.34")
    with pytest.raises(system.ClusterError, match="say oldest"):
        programs.control_plane()


def test_every_module_is_locked() -> None:
    """Each module's dependencies have their checksums in its go.sum, and none is taken from this machine."""
    for module in programs.MODULES.values():
        text = (module.source / "go.mod").read_text()
        assert "=> ." not in text
        assert "=> /" not in text
        assert ("require" in text) == (module.source / "go.sum").exists()


def test_the_pinned_go_is_new_enough() -> None:
    """A machine without Go can build every module with the wheel that go.txt pins."""
    assert go.numbers(go.pinned_version()) >= go.needed_version()


@pytest.mark.parametrize(("version", "is_taken"), [("go1.99.0", True), ("go1.26", False), ("go1.25.9", False)])
def test_go_on_path_is_taken_when_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_taken: bool
) -> None:
    """An old Go is passed over for the wheel, whether or not the wheel is installed yet."""
    monkeypatch.setenv("FLAGSCHEDULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(system, "PATH", f"{tmp_path}:/usr/bin:/bin")
    program = tmp_path / "go"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    found = go.find()
    assert (found.program == program) is is_taken
    assert found.version == (version.removeprefix("go") if is_taken else go.pinned_version())


def test_missing_parts_are_named_to_whom_cannot_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root the message has the command to run; what is there is not mentioned."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    parts = {"sh": "dash", "no-such-program": "package-b", "/no/such/file": "package-a"}
    with pytest.raises(system.ClusterError) as raised:
        system.require(parts)
    assert "package-a package-b" in str(raised.value)
    assert "dash" not in str(raised.value)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_progress_stays_on_one_line_of_a_terminal() -> None:
    """Each state overwrites the one before; the last one ends the line."""
    stream = Terminal()
    progress = Progress(stream)
    for text in ("1/3", "2/3", "2/3"):
        progress.update(text)
    progress.finish("done")
    assert stream.getvalue() == "\r\x1b[2K1/3\r\x1b[2K2/3\r\x1b[2Kdone\n"


def test_progress_elsewhere_is_a_line_now_and_then() -> None:
    """A log gets the first and the last state, and few between."""
    stream = io.StringIO()
    progress = Progress(stream, interval=3600)
    for number in range(100):
        progress.update(f"{number}/100")
    progress.finish("done")
    assert stream.getvalue() == "0/100\ndone\n"


def test_durations_are_short() -> None:
    """A person reads minutes and seconds."""
    assert (duration(45.7), duration(200)) == ("45s", "3m20s")
