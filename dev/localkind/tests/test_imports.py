"""The package is self-contained; the import contract in pyproject.toml says from whom, this says from what."""

import subprocess
import sys
from pathlib import Path

from dev import localkind

PACKAGE = Path(localkind.__file__).parent


def test_everything_but_the_servers_needs_only_python() -> None:
    """Clusters and image builds work with a bare Python: no module imports an installed package."""
    modules = sorted(f"dev.localkind.{path.stem}" for path in PACKAGE.glob("[!_]*.py"))
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import {', '.join(modules)}"],  # without the folder of installed packages
        cwd=PACKAGE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(modules) > 20
    assert done.returncode == 0, done.stderr
