"""What the launcher's command line says and refuses before any cluster is touched."""

import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from dev.localkind import cli, image_archives, kind_binary, network, system


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLAGSCHEDULE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "create",
        "create cluster",
        "delete cluster",
        "get clusters",
        "get kubeconfig",
        "load docker-image",
        "load image-archive",
        "exec",
        "host-address",
        "build",
    ],
)
def test_every_command_explains_itself(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` works for each command and has a sentence about it."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*words.split(), "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 4


def test_no_clusters_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Without clusters the output is kind's: nothing on stdout, a message on stderr."""
    assert cli.main(["get", "clusters"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "No kind clusters found.\n")


@pytest.mark.parametrize(
    "words", ["get kubeconfig --name nope", "load docker-image x --name nope", "host-address --name nope", "exec nope"]
)
def test_an_unknown_cluster_is_named(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message has the name, what there is, and what to do; the exit code is kind's."""
    assert cli.main(words.split()) == 1
    assert "no cluster 'nope' (there is: none); make it with: create cluster" in capsys.readouterr().err


def test_deleting_what_is_not_there_is_fine() -> None:
    """Deleting an unknown cluster succeeds, as with kind."""
    assert cli.main(["delete", "cluster", "--name", "nope"]) == 0


def test_without_root_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user who is not root gets the error at once, before anything is built."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["create", "cluster"]) == 1
    assert "needs root" in capsys.readouterr().err


def test_a_place_that_the_node_hides_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state folder below /var/lib would vanish under the node's own; the message says what to set."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("FLAGSCHEDULE_STATE", "/var/lib/x")
    assert cli.main(["create", "cluster"]) == 1
    assert "Set FLAGSCHEDULE_STATE" in capsys.readouterr().err


def test_the_script_works_from_any_folder(tmp_path: Path) -> None:
    """pytest-kind calls it by its path, from any folder; links to it work as well."""
    link = tmp_path / "kind"
    link.symlink_to(kind_binary.OWN_KIND)
    done = subprocess.run([link, "get", "clusters"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(("docker_exit", "expected"), [(0, "kind"), (1, str(kind_binary.OWN_KIND))])
def test_kind_is_used_where_docker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_exit: int, expected: str
) -> None:
    """The real kind needs a Docker daemon that answers; elsewhere it is ours."""
    for name, code in (("docker", docker_exit), ("kind", 0)):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(system, "PATH", f"{tmp_path}:/usr/bin:/bin")
    assert kind_binary.kind_command() == [str(tmp_path / expected) if expected == "kind" else expected]


def test_subnets_in_use_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is taken by a link, an address or a route of any program."""
    links = [
        {"ifname": "eth0", "addr_info": [{"local": "10.231.7.9"}, {"local": "fe80::1"}]},
        {"ifname": "kn3", "addr_info": []},
        {"ifname": "kn3x", "addr_info": [{"local": "10.23.1.1"}]},
    ]
    routes = [{"dst": "default"}, {"dst": "10.231.9.0/24"}]
    answers = {"address": json.dumps(links), "route": json.dumps(routes)}
    monkeypatch.setattr(system, "run", lambda *words: answers[words[-1]])
    assert network.used_numbers() == {3, 7, 9}


def test_the_pause_image_is_the_same_each_time(tmp_path: Path) -> None:
    """It holds one program, its configuration fits its layer, and packing it again changes no byte."""
    program = tmp_path / "pause"
    program.write_bytes(b"static program")
    archives = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for archive in archives:
        image_archives.pack_pause(program, archive)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as outer:
        content = {name: member.read() for name in outer.getnames() if (member := outer.extractfile(name))}
    config = json.loads(content["config.json"])
    assert json.loads(content["manifest.json"])[0]["RepoTags"] == ["localhost/pause:3.10.1"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content['layer.tar']).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(content["layer.tar"])) as layer:
        assert [(entry.name, entry.mode) for entry in layer] == [("pause", 0o755)]


def test_a_program_that_hangs_is_ended() -> None:
    """What takes longer than it may is ended, and the message says which program it was."""
    with pytest.raises(system.ClusterError, match="sleep 60: not finished after 0 seconds"):
        system.run("sleep", "60", timeout=0.1)
