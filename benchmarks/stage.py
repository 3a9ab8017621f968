"""Where mirrors are compared: an API server and a database of their own, many objects, and a watch with a clock."""

import asyncio
import math
import os
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import IO, Any, Final

import aiohttp
import orjson

from benchmarks.scene import Scene, scene
from benchmarks.sides import high_water
from dev.localkind.control_plane import ControlPlane
from flagschedule.services.concurrently import for_each
from tests.cluster.api import flagschedule
from tests.cluster.conftest import install
from tests.cluster.operator_fixtures import count_patches, operator_kubeconfig
from tests.cluster.spec_corpus import spec

FLAGS: Final = 5000
LATER: Final = "2035-01-01T09:00:00Z"
_KIND: Final = "/apis/flagschedule.io/v1alpha1"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_LONGEST: Final = 1800.0


class Program:
    """A process under test, and what it has used of the machine."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self.started = time.time()

    def check(self) -> None:
        """Raise an AssertionError with the end of its log if it has ended by itself."""
        if self._process.poll() is not None:
            self._log.seek(0)
            raise AssertionError(f"it has ended by itself: {self._log.read()[-2000:].decode()}")

    def cpu(self) -> float:
        """Return the seconds of CPU so far."""
        self.check()
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak(self) -> float:
        """Return the most memory that it ever had, in MB."""
        self.check()
        return high_water(self._process.pid) or math.nan

    def settle(self) -> float:
        """Wait until it has next to nothing to do; since when."""
        while True:
            since, before = time.time(), self.cpu()
            time.sleep(1)
            if self.cpu() - before < 0.05:
                return since


@contextmanager
def running(command: list[str], environment: Mapping[str, str]) -> Iterator[Program]:
    """Run a program until the end of the block; it does not outlive this process."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            yield Program(process, log)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()


class Watch:
    """When each object first showed each phase, as a client of the API server sees it.

    Attributes:
        seen: for each (namespace, phase) the time of each object, by its name.
    """

    def __init__(self, stage: "Stage") -> None:
        self.seen: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        start = orjson.loads(stage.get(f"{_KIND}/flagschedules?limit=1"))["metadata"]["resourceVersion"]
        self._following = Thread(target=self._follow, args=(stage, start), daemon=True)
        self._following.start()

    def times(self, namespace: str, phase: str, objects: int, by: Program) -> list[float]:
        """Wait until so many objects of a namespace reached a phase. Returns: the times, the earliest first.

        Raises:
            AssertionError: the program that should bring them there has ended, or the watch has.
        """
        deadline = time.monotonic() + _LONGEST
        found = self.seen[namespace, phase]
        while len(found) < objects:
            assert time.monotonic() < deadline, f"{len(found)} of {objects} are {phase}"
            assert self._following.is_alive(), "the watch has ended"
            by.check()
            time.sleep(0.02)
        return sorted(found.values())

    def _follow(self, stage: "Stage", version: str) -> None:
        while True:  # the API server ends a watch that does not keep up, or that it finds old enough
            try:
                stream = stage.open(f"{_KIND}/flagschedules?watch=1&resourceVersion={version}")
            except OSError:  # it has gone: the round is over
                return
            for line in stream:
                now = time.time()
                obj = orjson.loads(line)["object"]
                meta = obj["metadata"]
                version = meta["resourceVersion"]
                if phase := obj["status"].get("phase"):
                    self.seen[meta["namespace"], phase].setdefault(meta["name"], now)


class Stage:
    """One API server with the product's manifests, and one database.

    Attributes:
        database: of the product's schema, with flags.
        kubeconfig: of the operator's service account.
    """

    def __init__(self, control_plane: ControlPlane, database: Scene) -> None:
        self.database = database
        self.kubeconfig = operator_kubeconfig(control_plane)
        self._control_plane = control_plane
        self._tls = ssl.create_default_context(cafile=control_plane.ca_file)
        self._headers = {"Authorization": f"Bearer {control_plane.token('admin')}"}

    def create(self, namespace: str, objects: int, at: str = LATER) -> list[float]:
        """Create so many objects in a new namespace, as quickly as the API server takes them.

        Returns:
            When each of them was created.
        """
        self._control_plane.kubectl("create", "namespace", namespace)
        return asyncio.run(self._create(namespace, objects, at))

    async def _create(self, namespace: str, objects: int, at: str) -> list[float]:
        created: list[float] = []
        base = self._control_plane.server
        async with aiohttp.ClientSession(
            base, headers=self._headers, connector=aiohttp.TCPConnector(ssl=self._tls, limit=50)
        ) as session:

            async def create(number: int) -> None:
                plan = spec(
                    flagKey=f"flag-{number % FLAGS + 1}", scheduledAt=at, updates={"rolloutPercentage": number % 101}
                )
                body = flagschedule(f"launch-{number}", plan)
                async with session.post(f"{_KIND}/namespaces/{namespace}/flagschedules", json=body) as answer:
                    assert answer.ok, await answer.text()
                created.append(time.time())

            await for_each(range(objects), create, at_once=50)
        return created

    def patches(self) -> int:
        """Return how many PATCH requests for FlagSchedules and their statuses there were so far."""
        return count_patches(self._control_plane)

    def get(self, path: str) -> bytes:
        """Return what the API server answers to its administrator."""
        with self.open(path) as answer:
            found: bytes = answer.read()
        return found

    def open(self, path: str) -> Any:
        """Return the answer, to be read bit by bit."""
        request = urllib.request.Request(self._control_plane.server + path, headers=self._headers)  # noqa: S310 -- https only
        return urllib.request.urlopen(request, context=self._tls)  # noqa: S310 -- https only

    def rows(self) -> int:
        """Return how many schedules the database has."""
        found = self.database.session.execute("SELECT count(*) FROM feature_flag_schedules").fetchone()
        assert found
        return int(found[0])


@contextmanager
def stage() -> Iterator[Stage]:
    """Start a new stage."""
    with scene(FLAGS) as database, ControlPlane() as control_plane:
        install(control_plane)
        yield Stage(control_plane, database)


def seconds_from_now(seconds: float) -> datetime:
    """Return a time of a whole second."""
    return datetime.fromtimestamp(int(time.time() + seconds), UTC)
