"""Packages the chart for a release, so that its defaults name the published image by its digest.

Called by `python -m dev.chart package`, which the release workflow uses, and by a test. The chart in the repository
names `localhost/flagschedule`, which no registry can serve.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import flagschedule
from dev.chart import files
from dev.chart.values import ValuesError
from dev.localkind import system

LOCAL: Final = "localhost/flagschedule"
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")


def package(helm: str | Path, image: str, digest: str, runbooks: str, folder: Path) -> Path:
    """Write the chart's archive into a folder.

    Args:
        helm: the program.
        image: the image's name, with its registry and without a tag.
        digest: the digest of the image, for all architectures.
        runbooks: the URL to which the name of an alert is added.
        folder: where the archive and the files that it is made of are written.

    Returns:
        The archive.

    Raises:
        ValuesError: a file of the chart no longer has a line that is replaced here, or the digest is none.
        ClusterError: Helm cannot package the chart.
    """
    if not _DIGEST.fullmatch(digest):
        raise ValuesError(f"not a digest: {digest!r}")
    chart = folder / files.CHART.name
    shutil.rmtree(chart, ignore_errors=True)
    shutil.copytree(files.CHART, chart)
    _replace(
        chart / "values.yaml",
        {
            f"  repository: {LOCAL}\n": f"  repository: {image}\n",
            '  digest: ""\n': f"  digest: {digest}\n",
            '    runbookUrl: ""\n': f"    runbookUrl: {runbooks}\n",
        },
    )
    _replace(
        chart / "README.md",
        {
            "helm install flagschedule ./helm/flagschedule --namespace flagschedule-system"
            " --set image.repository=registry.example.com/flagschedule\n": "helm install flagschedule "
            f"oci://{image}/charts/flagschedule --version {flagschedule.__version__} --namespace flagschedule-system\n"
        },
    )
    for file, text in files.described(chart).items():
        file.write_text(text)
    system.run(helm, "package", str(chart), f"--destination={folder}")
    return folder / f"{files.CHART.name}-{flagschedule.__version__}.tgz"


def _replace(file: Path, lines: Mapping[str, str]) -> None:
    text = file.read_text()
    for old, new in lines.items():
        if text.count(old) != 1:
            raise ValuesError(f"{file.name} must have exactly one line {old.strip()!r}")
        text = text.replace(old, new)
    file.write_text(text)
