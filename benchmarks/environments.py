"""Where other people's programs live: an environment of packages for Python, for Node and for Go, in the cache.

Called by the parts that measure them. Each one is made at its first use, from its lock file.
"""

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dev.localkind import cache, system
from dev.localkind import go as compilers
from dev.localkind.compiler import Compiler
from dev.localkind.progress import Progress, say

_LOCK: Final = Path(__file__).parents[1] / "requirements" / "bench.txt"


def python() -> Path:
    """Return the interpreter of a virtual environment with the packages of `requirements/bench.txt`.

    Raises:
        ClusterError: pip could not install them.
    """

    def make(folder: Path) -> None:
        system.run(sys.executable, "-m", "venv", folder)
        pip = (folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        system.run(*pip, "--require-hashes", "--requirement", _LOCK, timeout=900)

    return _made("python", [_LOCK], sys.version, make) / "bin" / "python"


def node(source: Path) -> Path:
    """Copy the folder of a package.json, with its packages next to it, where Node looks for them.

    Raises:
        ClusterError: there is no Node or npm, or it could not install them, or they need a newer Node.
    """
    if not system.which("node"):
        raise system.ClusterError("the program node is not on this machine; please install it")

    def make(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        system.run("npm", "ci", "--prefix", folder, "--engine-strict", "--ignore-scripts", "--no-audit", "--no-fund")

    return _made(source.name, sorted(source.iterdir()), "", make)


def go(source: Path) -> Path:
    """Compile the folder of a go.mod. Returns: the program.

    Raises:
        ClusterError: there is no Go compiler, or it could not build.
    """
    compiler = compilers.find()

    def make(folder: Path) -> None:
        compiler.install()
        build = Compiler(name=source.name, go=compiler.program, source=source, report=Progress().update).build
        build(flags=("-ldflags", "-s -w"), target=".", output=f"{folder}/{source.name}")

    return _made(source.name, sorted(source.iterdir()), compiler.version, make) / source.name


def _made(name: str, files: list[Path], version: str, make: Callable[[Path], None]) -> Path:
    """Return the folder that was made of these files; made next to it and renamed, so that it is always complete."""
    digest = hashlib.sha256(version.encode())
    for file in files:
        digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    folder = cache.cache_dir() / "bench" / f"{name}-{digest.hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with cache.locked(folder.parent / f"{name}.lock"):
        if not folder.exists():
            say(f"Installing what the benchmarks need for {name}, once (up to a minute); kept in {folder}")
            temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
            try:
                make(temporary)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return folder
