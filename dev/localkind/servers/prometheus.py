"""Prometheus, promtool and amtool from Debian packages. Used by the tests of metrics and alerts."""

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


def amtool() -> Path:
    """Fetch Alertmanager's tool once. Returns: the program.

    Raises:
        ClusterError: there is no apt here, or the package cannot be fetched.
    """
    if found := shutil.which("amtool"):
        return Path(found)
    return debian.files("prometheus-alertmanager") / "usr" / "bin" / "amtool"
