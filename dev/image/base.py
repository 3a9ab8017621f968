"""The base image for machines without Docker: a small Debian with Python, made by debootstrap.

Called by the command and built by buildah. No registry is used: Debian's packages are signed, and every machine
that can use apt can fetch them.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

from dev.localkind.engines import BaseImage
from dev.localkind.steps import output, run

SUITE: Final = "bookworm"  # its Python is 3.11, like that of the Dockerfile's default
_REGISTRY: Final = "python:3.11-slim"  # as in the Dockerfile
_PACKAGES: Final = ("python3", "python3-venv", "ca-certificates")
# What a container never needs: about half of the size.
_SUPERFLUOUS: Final = (
    *("var/cache/apt", "var/lib/apt/lists", "var/log", "var/cache/debconf", "dev", "proc", "sys"),
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/i18n"),
)
_CONTAINERFILE: Final = """\
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/bin:/usr/bin:/bin
"""


def image() -> BaseImage:
    """Return the image that a build starts from: Python's own where Docker runs, elsewhere the one made here."""
    title = f"Debian {SUITE} with Python"
    return BaseImage(registry=_REGISTRY, local=name(), title=title, make_context=make_context)


def name() -> str:
    """Return the base image's name; its tag is a hash of the recipe."""
    recipe = json.dumps([SUITE, _PACKAGES, _SUPERFLUOUS, _CONTAINERFILE])
    return f"localhost/flagschedule-base:{SUITE}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def make_context(folder: Path) -> None:
    """Fill a folder with the context of the base image: its root file system as a tar file, and a Containerfile.

    Raises:
        StepFailedError: debootstrap failed.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch) / "root"
        # debootstrap mounts proc below the new root; in a mount namespace of its own nothing can stay behind.
        run(["unshare", "--mount", "debootstrap", *_options(), SUITE, root, *_mirror()])
        for path in _SUPERFLUOUS:
            shutil.rmtree(root / path, ignore_errors=True)
            (root / path).mkdir(parents=True)
        for cache in list(root.rglob("__pycache__")):
            shutil.rmtree(cache)
        run(["tar", "--create", "--numeric-owner", f"--file={folder / 'base.tar'}", f"--directory={root}", "."])
    (folder / "Containerfile").write_text(_CONTAINERFILE)


def _options() -> list[str]:
    return ["--variant=minbase", f"--include={','.join(_PACKAGES)}"]


def _mirror() -> list[str]:
    """Return the mirror of this machine's own apt sources if they serve the suite; else debootstrap's default."""
    targets = output(["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages"]) or ""
    sites = [line.split()[1] for line in targets.splitlines() if line.startswith(f"{SUITE} ")]
    return sites[:1]
