"""The two programs that can build images: Docker, and buildah where no Docker daemon answers.

Called by the code that builds an image. An engine knows nothing of what is built.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from dev.localkind import system
from dev.localkind.steps import StepFailedError, output, run, step

# What buildah leaves on the machine outside of the storage folder that we give it.
_LEFT_BEHIND: Final = (
    Path("/etc/cni/net.d/cni.lock"),
    Path("/var/lib/containers/cache/blob-info-cache-v1.boltdb"),
)


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """What a build starts from.

    Args:
        registry: its name in a registry, for Docker.
        local: the name of the one that is made on this machine, for buildah.
        title: what is made, for the person who waits.
        make_context: fills a folder with its Containerfile and what that needs; may raise StepFailedError.
    """

    registry: str
    local: str
    title: str
    make_context: Callable[[Path], None]


class Engine(Protocol):
    """Builds images and answers questions about them. `base` is the base image's name."""

    base: str

    def prepare(self) -> None:
        """Make sure that a build can start. Raises StepFailedError if it cannot."""

    def build(self, tag: str, context: Path, args: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Build a context under a tag. Raises StepFailedError."""

    def inspect(self, tag: str) -> tuple[Mapping[str, str], int] | None:
        """Return the labels of an image and its size in bytes; None if there is no such image."""

    def unpack(self, tag: str, folder: Path) -> None:
        """Put an image's files into an empty folder. Raises StepFailedError."""

    def push(self, tag: str, name: str) -> None:
        """Push an image under a name that begins with a registry on 127.0.0.1, without TLS. Raises StepFailedError."""


class Docker:
    """Docker's own builder."""

    def __init__(self, base: BaseImage) -> None:
        self.base = base.registry

    def prepare(self) -> None:
        """Do nothing: the daemon answered, and it fetches the base image."""

    def build(self, tag: str, context: Path, args: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Build a context under a tag. Raises StepFailedError."""
        run(["docker", "build", "--tag", tag, *_options(args, labels), context])

    def inspect(self, tag: str) -> tuple[Mapping[str, str], int] | None:
        """Return the labels of an image and its size in bytes; None if there is no such image."""
        answer = output(["docker", "image", "inspect", tag])
        if answer is None:
            return None
        image = json.loads(answer)[0]
        return image["Config"].get("Labels") or {}, image["Size"]

    def unpack(self, tag: str, folder: Path) -> None:
        """Put an image's files into an empty folder. Raises StepFailedError."""
        container = _checked(output(["docker", "create", tag]), tag)
        try:
            run(["docker", "export", "--output", f"{folder}.tar", container])
        finally:
            output(["docker", "rm", container])
        run(["tar", "--extract", f"--file={folder}.tar", f"--directory={folder}"])
        Path(f"{folder}.tar").unlink()

    def push(self, tag: str, name: str) -> None:
        """Push an image under a name that begins with a registry on 127.0.0.1, without TLS. Raises StepFailedError."""
        run(["docker", "tag", tag, name])
        try:
            run(["docker", "push", name])
        finally:
            output(["docker", "rmi", name])


class Buildah:
    """buildah with chroot isolation and a storage of its own; needs root, but no daemon and no registry."""

    def __init__(self, cache: Path, base: BaseImage) -> None:
        self.base = base.local
        self._source = base
        self._cache = cache
        self._command = ["buildah", "--root", f"{cache}/buildah/root", "--runroot", f"{cache}/buildah/run"]
        self._command += ["--storage-driver", "overlay"]

    def prepare(self) -> None:
        """Install buildah if it is missing, and make the base image once. Raises StepFailedError, ClusterError."""
        if os.geteuid() != 0:
            raise StepFailedError("Without Docker the image is built by buildah, which needs root here. Use sudo.")
        system.require(system.IMAGE_PARTS)
        if self.inspect(self.base):
            return
        title = f"Making the base image, {self._source.title}, once (about two minutes)"
        with step(title), tempfile.TemporaryDirectory(dir=self._cache, prefix="base-") as folder:
            self._source.make_context(Path(folder))
            self._bud(["--tag", self.base, "--file", f"{folder}/Containerfile", folder])

    def build(self, tag: str, context: Path, args: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Build a context under a tag; the image that had the tag before is removed. Raises StepFailedError."""
        former = self._image_id(tag)
        self._bud(["--layers", "--tag", tag, *_options(args, labels), str(context)])
        if former and former != self._image_id(tag):
            output([*self._command, "rmi", former])  # refused if it has another name: then it stays

    def inspect(self, tag: str) -> tuple[Mapping[str, str], int] | None:
        """Return the labels of an image and its size in bytes; None if there is no such image."""
        with _nothing_left_behind():
            found = self._images(tag)
            answer = output([*self._command, "inspect", "--type", "image", tag]) if found else None
        if not found or answer is None:
            return None
        return json.loads(answer)["OCIv1"]["config"].get("Labels") or {}, found["size"]

    def unpack(self, tag: str, folder: Path) -> None:
        """Put an image's files into an empty folder. Raises StepFailedError."""
        with _nothing_left_behind():
            container = _checked(output([*self._command, "from", "--pull-never", tag]), tag)
            try:
                mounted = _checked(output([*self._command, "mount", container]), tag)
                run(["cp", "--archive", f"{mounted}/.", folder])
            finally:
                output([*self._command, "rm", container])

    def push(self, tag: str, name: str) -> None:
        """Push an image under a name that begins with a registry on 127.0.0.1, without TLS. Raises StepFailedError."""
        with _nothing_left_behind():
            run(
                [
                    *self._command,
                    "push",
                    "--quiet",
                    "--disable-compression",
                    "--tls-verify=false",
                    tag,
                    f"docker://{name}",
                ]
            )

    def _image_id(self, tag: str) -> str | None:
        found = self._images(tag)
        return found["id"] if found else None

    def _images(self, tag: str) -> dict[str, Any] | None:
        answer = output([*self._command, "images", "--json", tag])
        return {"id": (image := json.loads(answer)[0])["id"], "size": _bytes(image["size"])} if answer else None

    def _bud(self, arguments: list[str]) -> None:
        env = os.environ | {"BUILDAH_ISOLATION": "chroot"}
        with _nothing_left_behind():
            run([*self._command, "bud", "--pull-never", "--network=host", *arguments], env=env)


def choose(cache: Path, base: BaseImage) -> Engine:
    """Docker if its daemon answers, else buildah."""
    return Docker(base) if output(["docker", "info"]) is not None else Buildah(cache, base)


def _options(args: Mapping[str, str], labels: Mapping[str, str]) -> list[str]:
    options = [f"--build-arg={name}={value}" for name, value in args.items()]
    return options + [f"--label={name}={value}" for name, value in labels.items()]


def _checked(answer: str | None, tag: str) -> str:
    if answer is None:
        raise StepFailedError(f"There is no image {tag}; build it first.")
    return answer.strip()


def _bytes(size: str) -> int:
    """Return the bytes of "157 MB"."""
    number, unit = size.split()
    return int(float(number) * 1000 ** ["B", "KB", "MB", "GB"].index(unit.upper()))


@contextlib.contextmanager
def _nothing_left_behind() -> Iterator[None]:
    """Remove the files that buildah makes on the machine, and their folders, if they were not there before."""
    absent = [path for file in _LEFT_BEHIND for path in (file, *file.parents[:2]) if not path.exists()]
    try:
        yield
    finally:
        for path in absent:
            with contextlib.suppress(OSError):  # not made at all, or a folder that another process uses by now
                path.rmdir() if path.is_dir() else path.unlink()
