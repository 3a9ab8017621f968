"""Running the machine's own programs, and installing the missing ones with apt.

Called by every module that starts a program. Must not know anything about Kubernetes.
"""

import os
import shutil
import subprocess
from pathlib import Path

from dev.localkind.cache import cache_dir, locked
from dev.localkind.progress import say

# The folders of administration programs are missing in the PATH of many a root shell.
PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"],
)
CNI_FOLDER = Path("/usr/lib/cni")
_APT = 1800.0  # seconds; a mirror may be slow

# What must exist, and the Debian package that brings it.
NODE_PARTS = {
    "runc": "runc",
    str(CNI_FOLDER / "bridge"): "containernetworking-plugins",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
    "openssl": "openssl",
}
CONTROL_PLANE_PARTS = {"setpriv": "util-linux", "openssl": "openssl"}
IMAGE_PARTS = {"buildah": "buildah", "debootstrap": "debootstrap"}


class ClusterError(Exception):
    """Something a person must know: the text says what happened and what to do. Commands print it and exit 1."""


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment with a PATH that has the administration programs."""
    return {**os.environ, "PATH": PATH, **more}


def bare_environment(home: Path) -> dict[str, str]:
    """Return an environment with nothing of the caller's in it (proxies, KUBECONFIG, …) but the PATH."""
    return {"PATH": PATH, "HOME": str(home)}


def which(program: str) -> str | None:
    """Return the path of a program, also of one outside the caller's own PATH."""
    return shutil.which(program, path=PATH)


def run(*command: str | Path, stdin: str | None = None, timeout: float = 300) -> str:
    """Run a program to its end and return its stdout.

    Raises:
        ClusterError: it failed, or took longer than `timeout` seconds; the text holds the command and its stderr.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, check=False, env=environment(), timeout=timeout
        )
    except FileNotFoundError as error:
        raise ClusterError(f"the program {words[0]} is not on this machine; please install it") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words)}: not finished after {timeout:.0f} seconds") from error
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise ClusterError(f"{' '.join(words)}: {said}")
    return done.stdout


def require_root() -> None:
    """Refuse to go on without root: namespaces, mounts and control groups need it.

    Raises:
        ClusterError: the caller is not root.
    """
    if os.geteuid() != 0:
        raise ClusterError(
            "a cluster without Docker needs root (namespaces, mounts, control groups): run this as root, "
            "or install Docker and kind and use those",
        )


def require(parts: dict[str, str]) -> None:
    """Install what is missing of `parts` (program or path → Debian package).

    Raises:
        ClusterError: something is missing and cannot be installed here.
    """
    packages = _missing(parts)
    if not packages:
        return
    names = " ".join(packages)
    if which("apt-get") is None:
        raise ClusterError(f"missing on this machine: what Debian calls {names}; please install it and try again")
    if os.geteuid() != 0:
        raise ClusterError(f"missing on this machine: {names}; as root run: apt-get install {names}")
    say(f"Installing with apt: {names}")
    apt = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120")
    quiet = ("env", "DEBIAN_FRONTEND=noninteractive", *apt)
    cache_dir().mkdir(parents=True, exist_ok=True)
    with locked(cache_dir() / "apt.lock"):  # `apt-get update` does not wait for another one, it fails
        run(*quiet, "update", timeout=_APT)
        run(*quiet, "install", "--yes", "--no-install-recommends", *packages, timeout=_APT)
    if still := _missing(parts):
        raise ClusterError(f"apt installed {names}, but {' '.join(still)} did not bring what is needed")


def _missing(parts: dict[str, str]) -> list[str]:
    return sorted({package for part, package in parts.items() if which(part) is None})


def tail(file: Path, lines: int = 15) -> str:
    """Return the last lines of a log, or a word about its absence."""
    try:
        text = file.read_text(errors="replace").strip()
    except OSError:
        return f"({file.name} was not written)"
    return "\n".join(text.splitlines()[-lines:]) or f"({file.name} is empty)"
