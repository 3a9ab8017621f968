"""Process 1 of a node: prepares its private mounts, starts the daemons, starts them again when they end.

Started by the launcher inside new namespaces as `python -m dev.localkind.supervisor FOLDER`. When it ends, the kernel
ends everything in the node. It must never touch the host: all it mounts is seen inside the node only.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from dev.localkind.api import Api

# Programs write to fixed places; what they write there goes to the cluster's own folder.
OVERLAID = ("/var/lib", "/opt", "/usr/libexec")
HIDDEN = ("/run", "/var/log")

# The kubelet sets these for the whole machine unless they already read so: it is shown files that do.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
_RESTART_SECONDS = 0.5
_POLL_SECONDS = 0.1
_MOST_RESTARTS = 4


class StartFailedError(Exception):
    """A daemon ended again and again before the node was ready; the text is its name."""


class Supervisor:
    """Keeps a set of daemons running.

    Args:
        folder: the cluster's folder; each daemon's output goes to `log/NAME.log` in it, and as soon as the launcher
            has put the file `ready` there, a daemon may be started again without limit.
        environment: what the daemons see.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._commands: dict[str, list[str]] = {}
        self._running: dict[int, str] = {}
        self._due: dict[str, float] = {}
        self._restarts: dict[str, int] = defaultdict(int)

    def start(self, commands: dict[str, list[str]]) -> None:
        """Start more daemons."""
        self._commands.update(commands)
        for name in commands:
            self._spawn(name)

    def look(self) -> None:
        """Reap what has ended, orphans of containers included, and start again what is due.

        Raises:
            StartFailedError: a daemon does not stay up.
        """
        while ended := _reap():
            pid, status = ended
            if name := self._running.pop(pid, None):
                self._ended(name, status)
        now = time.monotonic()
        for name in [name for name, when in self._due.items() if when <= now]:
            del self._due[name]
            self._spawn(name)

    def _ended(self, name: str, status: int) -> None:
        self._restarts[name] += 1
        print(f"{name} ended with {os.waitstatus_to_exitcode(status)}", flush=True)
        if self._restarts[name] > _MOST_RESTARTS and not (self._folder / "ready").exists():
            raise StartFailedError(name)
        self._due[name] = time.monotonic() + _RESTART_SECONDS

    def _spawn(self, name: str) -> None:
        command = self._commands[name]
        log = self._folder / "log" / f"{name}.log"
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            command[0],
            command,
            self._environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            # Python ignores these, and a started program would inherit that.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
        self._running[pid] = name


def prepare_mounts(folder: Path) -> None:
    """Give the node its own view of the places that programs write to."""
    _mount("--make-rshared", "/")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name in ("lock", "containerd", "netns"):
        Path("/run", name).mkdir()
    _mount("--bind", str(folder / "log"), "/var/log")
    for place in OVERLAID:
        if Path(place).is_dir():
            _overlay(place, folder / "overlay" / place.strip("/").replace("/", "-"))
    # Here and not in the cluster's folder: paths of the kubelet's sockets may not exceed 107 characters.
    home = Path("/var/lib/kubelet")
    home.mkdir(exist_ok=True)
    _mount("--bind", str(folder / "kubelet"), str(home))
    for setting, value in _KERNEL_SETTINGS.items():
        shown = Path("/run", f"sysctl-{setting.replace('/', '-')}")
        shown.write_text(f"{value}\n")
        _mount("--bind", str(shown), f"/proc/sys/{setting}")
    # Of this network namespace only.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def run(folder: Path) -> None:
    """Start the daemons of `plan.json` in order and keep them running until SIGTERM.

    Raises:
        StartFailedError: a daemon does not stay up.
    """
    plan = json.loads((folder / "plan.json").read_text())
    api = Api(server=plan["server"], ca=folder / "certs" / "ca.crt")
    supervisor = Supervisor(folder, plan["environment"])
    supervisor.start(plan["before_api"])
    while not api.is_ready():
        supervisor.look()
        time.sleep(_POLL_SECONDS)
    supervisor.start(plan["after_api"])
    while True:
        supervisor.look()
        time.sleep(_POLL_SECONDS)


def main(folder: Path) -> int:
    """Run the node; the file `failed` names the daemon that made it give up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    prepare_mounts(folder)
    try:
        run(folder)
    except StartFailedError as error:
        (folder / "failed").write_text(str(error))
    return 1


def _overlay(place: str, own: Path) -> None:
    upper, work = own / "upper", own / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    # volatile: nothing is flushed to disk at the end, when all of it is deleted.
    options = f"lowerdir={place},upperdir={upper},workdir={work},volatile"
    _mount("-t", "overlay", "overlay", "-o", options, place)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _reap() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
