"""Programs from Debian packages, without what the packages would set up. Used by the parts that only tests need.

Only the packages' files are taken: to install them would start their servers.
"""

import os
import re
import tempfile
from pathlib import Path

from dev.localkind.cache import cache_dir, locked
from dev.localkind.system import ClusterError, require, run


def files(package: str, libraries: str = "") -> Path:
    """Fetch a package once. Returns: the folder with its files.

    Args:
        package: its name.
        libraries: a pattern of packages that it depends on, whose files are wanted too.

    Raises:
        ClusterError: there is no apt here, or the package cannot be fetched.
    """
    require({"apt-get": "apt", "dpkg-deb": "dpkg"})
    folder = cache_dir() / package
    cache_dir().mkdir(parents=True, exist_ok=True)
    with locked(cache_dir() / "apt.lock"):
        if not folder.exists():
            _fetch(package, libraries, folder)
    return folder


def _fetch(package: str, libraries: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as place:
        here = Path(place)
        if os.geteuid() == 0:
            run("apt-get", "-qq", "update")
        names = [package]
        if libraries:
            names += re.findall(rf"Depends: ({libraries})", run("apt-cache", "depends", package))
        run("sh", "-c", f"cd '{here}' && apt-get -qq download {' '.join(names)}")
        packages = list(here.glob("*.deb"))
        if len(packages) != len(names):
            raise ClusterError(f"apt-get download brought {len(packages)} packages for {' '.join(names)}")
        for each in packages:
            run("dpkg-deb", "--extract", each, here / "all")
        (here / "all").rename(folder)
