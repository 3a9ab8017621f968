"""A person's kubeconfig gains our context and loses it again, and nothing else ever changes in it."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.localkind import kubeconfigs
from dev.localkind.naming import Cluster
from dev.localkind.system import ClusterError

KUBECTL = Path(sys.executable).parent / "kubectl"

OWN = """\
apiVersion: v1
kind: Config
current-context: work
clusters: [{name: work, cluster: {server: "https://work.example"}}]
users: [{name: me, user: {token: secret}}]
contexts: [{name: work, context: {cluster: work, user: me, namespace: shop}}]
preferences: {}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """A cluster's folder with what kubeconfigs are made of."""
    folder = tmp_path / "shop"
    (folder / "certs").mkdir(parents=True)
    for name in ("ca.crt", "admin.crt", "admin.key"):
        (folder / "certs" / name).write_text(name)
    made = Cluster(name="shop", number=1, folder=folder)
    kubeconfigs.write_private(made.kubeconfig, kubeconfigs.with_certificate(made, "admin"))
    return made


def by_name(file: Path, kind: str) -> Mapping[str, Any]:
    """Return the entries of a kubeconfig."""
    content = yaml.safe_load(file.read_text())
    return {entry["name"]: entry[kind.removesuffix("s")] for entry in content[kind] or []}


@pytest.mark.parametrize("before", [None, ""])
def test_a_new_file_is_ours_alone(cluster: Cluster, tmp_path: Path, before: str | None) -> None:
    """A missing or an empty file gets our context, readable by its owner only, and goes away with it."""
    file = tmp_path / "new" / "config"
    if before is not None:
        file.parent.mkdir()
        file.write_text(before)
    kubeconfigs.add(file, cluster, KUBECTL)
    assert file.stat().st_mode & 0o777 == 0o600
    content = json.loads(file.read_text())
    assert content["current-context"] == "kind-shop"
    assert content["clusters"][0]["cluster"]["server"] == "https://10.231.1.2:6443"
    kubeconfigs.remove(file, cluster.context, KUBECTL)
    assert not file.exists()


def test_a_persons_own_contexts_survive(cluster: Cluster, tmp_path: Path) -> None:
    """Ours is added to them and taken out again; everything of the person's is as before."""
    file = tmp_path / "config"
    file.write_text(OWN)
    kubeconfigs.add(file, cluster, KUBECTL)
    assert set(by_name(file, "contexts")) == {"work", "kind-shop"}
    assert by_name(file, "clusters")["kind-shop"]["server"] == "https://10.231.1.2:6443"
    assert yaml.safe_load(file.read_text())["current-context"] == "kind-shop"
    kubeconfigs.remove(file, cluster.context, KUBECTL)
    mine = yaml.safe_load(OWN)
    for kind in ("contexts", "clusters", "users"):
        assert by_name(file, kind) == {entry["name"]: entry[kind.removesuffix("s")] for entry in mine[kind]}
    assert (
        "current-context" not in yaml.safe_load(file.read_text())
        or not yaml.safe_load(file.read_text())["current-context"]
    )


def test_a_current_context_that_is_not_ours_stays(cluster: Cluster, tmp_path: Path) -> None:
    """Deleting a cluster does not take the person's choice away, and a similar name is not ours."""
    file = tmp_path / "config"
    file.write_text(OWN.replace("work", "kind-shop-2"))
    before = yaml.safe_load(file.read_text())
    kubeconfigs.remove(file, cluster.context, KUBECTL)
    assert yaml.safe_load(file.read_text()) == before


def test_a_file_that_is_no_kubeconfig_is_left_alone(cluster: Cluster, tmp_path: Path) -> None:
    """A file that is no kubeconfig is an error and stays unchanged."""
    file = tmp_path / "config"
    file.write_text("shopping: list\n- milk")
    with pytest.raises(ClusterError):
        kubeconfigs.add(file, cluster, KUBECTL)
    assert file.read_text() == "shopping: list\n- milk"


def test_the_file_is_chosen_as_kubectl_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The option, then the variable (its first file that exists), then the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert kubeconfigs.chosen_files(None) == [tmp_path / ".kube/config"]
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}")
    files = kubeconfigs.chosen_files(None)
    assert kubeconfigs.file_to_write(files) == second
    first.touch()
    assert kubeconfigs.file_to_write(files) == first
    assert kubeconfigs.chosen_files("other") == [Path("other")]
