"""Makes the image's root file system: Python, the libraries that it loads, certificates, and nothing that is a tool.

Called by the Dockerfile, with the Python of the base image and nothing but the standard library: no shell, no package
manager, no set-uid program of the base image reaches the final one. `python3 root.py VENV ROOT` also takes out of the
environment what our programs never load. It must not know whether Debian or python.org built the interpreter.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

# Parts of the standard library that only people at a terminal use, and those of Tk.
_TOOLS = {
    *("test", "tests", "idlelib", "lib2to3", "turtledemo", "turtle.py", "tkinter", "ensurepip", "venv", "pydoc_data"),
    *("site-packages", "dist-packages", "__pycache__", "sitecustomize.py"),
}
_CONFIGURATION = (
    *("/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/debian_version", "/usr/share/ca-certificates"),
    *("/etc/ssl/openssl.cnf", "/etc/ssl/certs"),
    *("/usr/lib/ssl/certs", "/usr/lib/ssl/openssl.cnf", "/etc/os-release", "/usr/lib/os-release"),
)
_USERS = "root:x:0:0::/:/sbin/nologin\nflagschedule:x:65532:65532::/tmp:/sbin/nologin\n"
_GROUPS = "root:x:0:\nflagschedule:x:65532:\n"
# Imports all that our programs import, and prints which modules of the Kubernetes library that took.
_LOADED = """
import importlib, pkgutil, sys
import flagschedule
for module in pkgutil.walk_packages(flagschedule.__path__, "flagschedule."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*(name for name in sys.modules if name.startswith("kubernetes.")))
"""


def make(venv: Path, root: Path) -> None:
    """Fill the empty folder `root`, and slim the environment, which is copied by the Dockerfile itself."""
    drop_kinds(venv)
    drop_scripts(venv)
    for link in ("lib", "lib64", "bin", "sbin"):
        if Path("/", link).is_symlink():
            (root / link).symlink_to(Path("/", link).readlink())
    stdlib = Path(sysconfig.get_path("stdlib"))
    interpreter = Path(sys.executable).resolve()
    programs = [interpreter, *_extensions(stdlib), *_extensions(venv)]
    kept = [*_chain(venv / "bin" / "python3"), *_library(stdlib), *_shared(programs), *_existing(_CONFIGURATION)]
    for path in kept:
        _copy(path, root)
    _write_etc(root)
    _record_packages(kept, root)
    _compile(root / stdlib.relative_to("/"), root)
    _compile(venv, Path("/"))


def drop_kinds(venv: Path) -> None:
    """Remove the Kubernetes library's classes for each kind and group, a third of the image, but for those loaded."""
    python = venv / "bin" / "python3"
    done = subprocess.run([python, "-c", _LOADED], stdout=subprocess.PIPE, text=True, check=True)
    loaded = set(done.stdout.split())
    (library,) = venv.glob("lib/python3*/site-packages/kubernetes")
    for folder in ("client/api", "client/models", "aio/client/api", "aio/client/models"):
        for path in (library / folder).glob("[!_]*.py"):
            name = ".".join(path.relative_to(library.parent).with_suffix("").parts)
            if name not in loaded:
                path.unlink()
        shutil.rmtree(library / folder / "__pycache__", ignore_errors=True)
    subprocess.run([python, "-c", _LOADED], stdout=subprocess.DEVNULL, check=True)  # no removed file is needed


def drop_scripts(venv: Path) -> None:
    """Remove the commands of the libraries: ours and Python are the ones to start."""
    for path in (venv / "bin").iterdir():
        if path.name != "flagschedule" and not path.name.startswith("python"):
            path.unlink()


def _chain(path: Path) -> Iterator[Path]:
    """Yield the links outside of the environment that lead to the interpreter, and the interpreter."""
    while path.is_symlink():
        path = path.parent / path.readlink()
        yield path


def _library(stdlib: Path) -> Iterator[Path]:
    for path in stdlib.rglob("*"):
        parts = path.relative_to(stdlib).parts
        wanted = not _TOOLS.intersection(parts) and not parts[0].startswith("config-") and "_tkinter" not in path.name
        if wanted and path.is_file():
            yield path


def _extensions(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.so*") if path.is_file() and "_tkinter" not in path.name]


def _shared(programs: Iterable[Path]) -> set[Path]:
    """Return the system's shared libraries that these programs need; threads load libgcc on demand."""
    done = subprocess.run(["ldd", *programs], stdout=subprocess.PIPE, text=True, check=True)
    words = {word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")}
    found = {Path(word) for word in words if not word.endswith(":") and "/site-packages/" not in word}
    (libc,) = (path for path in found if path.name == "libc.so.6")
    return found | set(_existing([str(libc.with_name("libgcc_s.so.1"))]))


def _existing(names: Iterable[str]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, names):
        found += [path] if path.is_symlink() or not path.is_dir() else path.rglob("*")
    return [path for path in found if path.is_symlink() or path.is_file()]


def _place(path: Path) -> Path:
    """Return the path of a file without links in its folders: Debian's /lib is a link to /usr/lib."""
    return path.parent.resolve() / path.name


def _copy(path: Path, root: Path) -> None:
    target = root / _place(path).relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):
        shutil.copy2(path, target, follow_symlinks=False)
    if path.is_symlink() and path.exists():
        _copy(path.parent / path.readlink(), root)


def _write_etc(root: Path) -> None:
    (root / "etc/passwd").write_text(_USERS)
    (root / "etc/group").write_text(_GROUPS)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)


def _record_packages(kept: Iterable[Path], root: Path) -> None:
    """Name the Debian packages that the files come from, where scanners look for them, with their licences."""
    places = {str(_place(path)) for path in kept} | {str(path.resolve()) for path in kept}
    (root / "var/lib/dpkg/status.d").mkdir(parents=True)
    for stanza in Path("/var/lib/dpkg/status").read_text().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
        name, architecture = fields["Package"], fields["Architecture"]
        lists = [Path(f"/var/lib/dpkg/info/{known}.list") for known in (name, f"{name}:{architecture}")]
        files = [Path(line) for file in lists if file.exists() for line in file.read_text().splitlines()]
        if places.intersection(str(_place(file)) for file in files):
            (root / "var/lib/dpkg/status.d" / name).write_text(f"{stanza}\n")
            for path in _existing([f"/usr/share/doc/{name}/copyright"]):
                _copy(path, root)


def _compile(folder: Path, root: Path) -> None:
    """Compile once, in the image: with a read-only root each start would compile again, which doubles its time."""
    mode = ("-q", "-f", "--invalidation-mode=unchecked-hash")
    subprocess.run([sys.executable, "-m", "compileall", *mode, "-s", root, "-p", "/", folder], check=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
