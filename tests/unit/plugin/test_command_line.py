"""The command line: help, errors, completion, the pages that show it, and the archive that carries it."""

import ast
import io
import json
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from datetime import timedelta
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from dev import plugin as built
from dev import reference, timeline
from flagschedule.plugin import arguments, cli, completion, text
from flagschedule.plugin.errors import KubectlError
from flagschedule.plugin.kubectl import Kubectl, _objects
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])


@pytest.mark.parametrize("words", [["-h"], ["timeline", "-h"], ["-n", "shop", "why", "--help"]])
def test_help(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Help goes to standard output, names the program as it is called, and ends with 0."""
    with pytest.raises(SystemExit) as end:
        cli.main(words)

    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage: kubectl flagschedule")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "unknown",
        "why",
        "timeline --next soon",
        "timeline -o pdf",
        "simulate --at 9am",
        "history a --flag b",
        "suspend",
    ],
)
def test_a_wrong_command_line_ends_with_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error says what is wrong, in one line after the usage."""
    with pytest.raises(SystemExit) as end:
        cli.main(shlex.split(line))

    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-n shop timeline", ["shop"]),
        ("timeline -n shop -n pay", ["shop", "pay"]),
        ("timeline --namespace=shop", ["shop"]),
    ],
)
def test_options_of_kubectl_stand_before_and_after_the_command(line: str, expected: list[str]) -> None:
    """As the guide of krew wants it of plugins."""
    assert arguments.parser().parse_args(line.split()).namespaces == expected


@pytest.mark.parametrize(
    ("written", "length"),
    [("7d", timedelta(days=7)), ("1h30m", timedelta(minutes=90)), ("90s", timedelta(seconds=90))],
)
def test_lengths_of_time(written: str, length: timedelta) -> None:
    """Days are allowed where a length is only how far to look."""
    assert arguments.parser().parse_args(["timeline", "--next", written]).next == length


def test_no_kubectl_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without kubectl in PATH the error says so, and there is no traceback."""
    monkeypatch.setenv("PATH", "/nonexistent")

    assert cli.main(["timeline"]) == 1
    assert capsys.readouterr().err == "kubectl is not in PATH; install it, or add its folder to PATH\n"


def test_objects_are_read_in_every_form_that_kubectl_prints() -> None:
    """One object, several in a row, a list, and nothing."""
    one, two = {"kind": "FlagPlan", "metadata": {"name": "one"}}, {"kind": "FlagPlan", "metadata": {"name": "two"}}

    assert list(_objects(json.dumps(one) + "\n" + json.dumps(two, indent=2))) == [one, two]
    assert list(_objects(json.dumps({"kind": "List", "items": [one, two]}))) == [one, two]
    assert list(_objects("")) == []


def test_another_answer_than_json_is_a_sentence() -> None:
    """A proxy's page of HTML ends in no traceback."""
    with pytest.raises(KubectlError, match="did not answer with JSON, but: <html>"):
        list(_objects("<html>"))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_is_served(encoding: str) -> None:
    """What it cannot show is escaped."""
    script = (
        "import sys\nfrom flagschedule.plugin import cli\ntry: cli.main(['-h'])\nexcept SystemExit: print('\u2603')"
    )
    environment = {"PYTHONIOENCODING": encoding}
    subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=PATIENCE, check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ti"], ["timeline", ":4"]),
        (["timeline", "-o", ""], ["table", "json", "ics", "html", ":4"]),
        (["preview", "-f", ""], [":0"]),
        (["-n", "shop", "retry", "--na"], ["--namespace", ":4"]),
        (["freeze", ""], [":4"]),
    ],
)
def test_completion(words: Sequence[str], expected: Sequence[str]) -> None:
    """Commands, options and values are proposed; files only where a file is wanted."""
    assert completion.complete(arguments.parser(), words) == expected


def test_clean_text_is_one_printable_line() -> None:
    """Also characters that change the direction of a line, and halves of surrogate pairs."""
    assert text.clean("a\x1b[1m\n\u202e\ud800\u00e9") == "a\\x1b[1m\\n\\u202e\\ud800\u00e9"


def commands_of(page: Path) -> list[str]:
    """Return the commands of the plugin that a page shows in its blocks and in its text."""
    content = page.read_text()
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```$", content, re.MULTILINE | re.DOTALL))
    shown = [line for line in blocks.splitlines() if "kubectl flagschedule " in line]
    return [re.sub(r" [|>] .*", "", line[line.index("kubectl flagschedule") :]) for line in shown]


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=lambda page: page.name)
def test_the_commands_of_a_page_are_understood(page: Path) -> None:
    """Every command line in the documentation is one that the plugin takes."""
    for line in commands_of(page):
        words = shlex.split(line)[2:]
        if words != ["-h"]:
            arguments.parser().parse_args(words)


def test_the_reference_is_that_of_the_help() -> None:
    """`make generate` would change nothing."""
    assert reference.PAGE.read_text() == reference.reference()


def test_the_example_of_the_timeline_is_fresh() -> None:
    """The page in the documentation is what the plugin makes now."""
    assert timeline.PAGE.read_text() == timeline.example()


@pytest.fixture(scope="module")
def archive() -> bytes:
    """The archive, with the libraries that are installed here instead of those that pip would fetch."""
    with tempfile.TemporaryDirectory() as place:
        for name in built.LIBRARIES:
            for file in metadata.files(name) or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    target = Path(place) / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(Path(str(file.locate())).read_bytes())
        return built.archive(Path(place))


def test_the_archive_runs_by_itself(archive: bytes, tmp_path: Path) -> None:
    """Without any installed package, the archive computes times of plans in their zones."""
    program = tmp_path / "kubectl-flagschedule"
    program.write_bytes(archive)
    lines = (
        "import sys; sys.path.insert(0, sys.argv[1])",
        "from flagschedule.plugin import cli, preview",
        "from flagschedule.domain.zones import parse_zone, names",
        "assert parse_zone('Europe/Oslo').key in names()",
        "print('pydantic' in sys.modules, preview.__file__.startswith(sys.argv[1]))",
    )
    command = [sys.executable, "-I", "-S", "-c", "\n".join(lines), str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "False True\n"

    command = [sys.executable, "-I", "-S", str(program), "__complete", "ti"]
    assert (
        subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout == "timeline\n:4\n"
    )


def test_the_archive_holds_only_what_it_needs(archive: bytes, tmp_path: Path) -> None:
    """Of the product the plugin and the calendar, of others cronsim and tzdata; and nothing that was compiled."""
    program = tmp_path / "kubectl-flagschedule"
    program.write_bytes(archive)
    names = zipfile.ZipFile(program).namelist()

    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "LICENSE",
        "__main__.py",
        "cronsim",
        "flagschedule",
        "tzdata",
    }
    assert not [name for name in names if name.endswith((".pyc", ".so"))]
    assert archive.startswith(b"#!/usr/bin/env python3\n")
    assert len(archive) < 1_000_000


@pytest.mark.parametrize("version", [(3, 9), (3, 10)])
def test_an_old_python_gets_one_sentence(version: tuple[int, int]) -> None:
    """The first file is readable to it, and no other one is imported before the version was compared."""
    main = (ROOT / "operator/flagschedule/plugin/__main__.py").read_text()
    compile(main, "__main__.py", "exec", dont_inherit=True)
    line = f"import sys; sys.version_info = {(*version, 0, 'final', 0)}\nexec(sys.stdin.read())"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", line],
        input=main,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == f"kubectl flagschedule needs Python 3.11 or newer, and python3 here is 3.{version[1]}.\n"


def test_the_first_file_uses_no_new_syntax() -> None:
    """Python 3.5 can parse it."""
    ast.parse((ROOT / "operator/flagschedule/plugin/__main__.py").read_text(), feature_version=(3, 5))


def test_what_is_packed_is_locked_with_hashes() -> None:
    """The two libraries and nothing else, each with its hashes, are what pip may fetch."""
    lines = built.locked()

    assert re.findall(r"^(\w+)==", lines, re.MULTILINE) == ["cronsim", "tzdata"]
    assert lines.count("--hash=sha256:") >= 2


def test_the_manifest_of_krew() -> None:
    """It has what krew's linter wants: names, a description of at most 50 characters, a checksum, the files."""
    found = yaml.safe_load(built.manifest("0" * 64))
    spec, (platform,) = found["spec"], found["spec"]["platforms"]

    assert (found["apiVersion"], found["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    assert re.fullmatch(r"v\d+\.\d+\.\d+", spec["version"])
    assert len(spec["shortDescription"]) <= 50
    assert platform["bin"] in [file["from"] for file in platform["files"]]
    assert re.fullmatch(r"[0-9a-f]{64}", platform["sha256"])
    assert platform["uri"].startswith("https://")


@pytest.mark.parametrize(("content", "mode"), [("#!/bin/sh\n", 0o644), ("\x7fELF", 0o755)])
def test_a_kubectl_that_cannot_be_started_is_a_sentence(
    content: str, mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It lacks the right to be executed, or is made for another processor."""
    program = tmp_path / "kubectl"
    program.write_text(content)
    program.chmod(mode)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert cli.main(["timeline"]) == 1
    assert capsys.readouterr().err.startswith("kubectl in PATH cannot be started: ")


@pytest.mark.parametrize(
    "answer",
    [
        "[]",
        '"x"',
        "null",
        "NaN",
        '{"kind":5}',
        '{"kind":"List","items":[null]}',
        '{"kind":"List","items":{"a":1}}',
        pytest.param('{"a":' * 100_000, id="deep"),
    ],
)
def test_an_answer_without_objects_is_a_sentence(answer: str) -> None:
    """A proxy may answer with any JSON."""
    with pytest.raises(KubectlError, match="kubectl did not answer with"):
        list(_objects(answer))


def test_an_empty_list_may_be_null() -> None:
    """Go writes a list without items so."""
    assert list(_objects('{"kind": "List", "items": null}')) == []


def test_warnings_of_the_api_server_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them once, also where kubectl succeeds."""
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho "Warning: this is audited" >&2\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    shown = io.BytesIO()
    kubectl = Kubectl(standard_error=shown)
    for _ in range(2):
        kubectl.run("patch")

    assert shown.getvalue() == b"Warning: this is audited\n"


def test_a_freeze_of_all_and_of_one_namespace_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It would hold less than the one who writes it expects."""
    assert cli.main(shlex.split("freeze stop -A -n shop --reason x")) == 1
    assert "give one of the two" in capsys.readouterr().err
