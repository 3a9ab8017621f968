"""Prometheus and promtool from the Debian package, without its service. Used by the tests of metrics and alerts.

Only the package's files are taken: to install it would start a server.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from dev.cluster.cache import cache_dir, locked
from dev.cluster.system import ClusterError, require, run

_PACKAGE: Final = "prometheus"


def programs() -> Path:
    """The folder that holds `prometheus` and `promtool`; fetched once.

    Raises:
        ClusterError: there is no apt here, or the package cannot be fetched.
    """
    if found := shutil.which("promtool"):
        return Path(found).parent
    require({"apt-get": "apt", "dpkg-deb": "dpkg"})
    folder = cache_dir() / _PACKAGE
    cache_dir().mkdir(parents=True, exist_ok=True)
    with locked(cache_dir() / "apt.lock"):
        if not folder.exists():
            _fetch(folder)
    return folder / "usr" / "bin"


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as place:
        here = Path(place)
        if os.geteuid() == 0:
            run("apt-get", "-qq", "update")
        run("sh", "-c", f"cd '{here}' && apt-get -qq download {_PACKAGE}")
        packages = list(here.glob("*.deb"))
        if len(packages) != 1:
            raise ClusterError(f"apt-get download brought no package {_PACKAGE}")
        run("dpkg-deb", "--extract", packages[0], here / "all")
        (here / "all").rename(folder)
