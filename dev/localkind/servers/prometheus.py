"""Prometheus and promtool from the Debian package. Used by the tests of metrics and alerts."""

import shutil
from pathlib import Path

from dev.localkind.servers import debian


def programs() -> Path:
    """Fetch Prometheus once. Returns: the folder that holds `prometheus` and `promtool`.

    Raises:
        ClusterError: there is no apt here, or the package cannot be fetched.
    """
    if found := shutil.which("promtool"):
        return Path(found).parent
    return debian.files("prometheus") / "usr" / "bin"
