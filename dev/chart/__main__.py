"""The command `python -m dev.chart`: writes the generated files of the chart, and then what is made from the chart.

`make generate` calls it.

`python -m dev.chart kubernetes` first reads from an API server of its own the shapes of Kubernetes' objects.

`python -m dev.chart package IMAGE DIGEST RUNBOOKS FOLDER` makes the archive of a release with the `helm` in PATH.
"""

import sys
from pathlib import Path
from typing import Any

from dev.chart import base, files, kubernetes, package
from dev.chart.values import ValuesError
from dev.localkind import programs
from dev.localkind.api import Api
from dev.localkind.control_plane import ControlPlane


def main(words: list[str]) -> int:
    """Write what is not up to date, and print which files; or make the archive of a release."""
    try:
        if words[:1] == ["package"]:
            image, digest, runbooks, folder = words[1:]
            print(package.package("helm", image, digest, runbooks, Path(folder)))
            return 0
        if words[:1] == ["kubernetes"]:
            kubernetes.FILE.write_text(kubernetes.text(kubernetes.extract(_swagger())))
        _write(files.generated())
    except ValuesError as error:
        print(f"helm/flagschedule/values.yaml: {error}", file=sys.stderr)
        return 1
    _write(base.generated(programs.ensure([programs.HELM])["helm"] / "helm"))
    return 0


def _write(generated: dict[Path, str]) -> None:
    for file, text in generated.items():
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
            print(f"{file.relative_to(files.ROOT)} rewritten")


def _swagger() -> Any:
    with ControlPlane() as control_plane:
        token = control_plane.token("admin")
        return Api(server=control_plane.server, ca=control_plane.ca_file, token=token).get("/openapi/v2")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
