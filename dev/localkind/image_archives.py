"""Image archives: the pause image, made here, and images exported from the machine's builder.

Called by the launcher. Builds nothing but the pause image.
"""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

from dev.localkind import cache, system
from dev.localkind.kind_binary import docker_answers
from dev.localkind.naming import PAUSE_IMAGE

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_UNPRIVILEGED = "65535:65535"


def pack_pause(program: Path, archive: Path) -> None:
    """Write the image that holds every pod's namespaces: one static program and nothing else."""
    layer = _tar({"pause": program.read_bytes()}, mode=0o755)
    machine = platform.machine()
    config = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": _UNPRIVILEGED},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    files = {
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    archive.write_bytes(_tar(files, mode=0o644))


def buildah() -> list[str]:
    """Return the command of buildah with the project's own image storage."""
    storage = cache.cache_dir() / "buildah"
    return ["buildah", f"--root={storage}/root", f"--runroot={storage}/run", "--storage-driver=overlay"]


def export(image: str, archive: Path) -> None:
    """Write an image of this machine to an archive: Docker's if it runs here and has it, else buildah's.

    Raises:
        ClusterError: there is no such image here.
    """
    if docker_answers() and _is_there("docker", "image", "inspect", image):
        system.run("docker", "save", "--output", archive, image)
        return
    system.require(system.IMAGE_PARTS)
    if not _is_there(*buildah(), "inspect", "--type", "image", image):
        build = " ".join([*buildah(), "build", "--isolation=chroot", "-t", image, "."])
        raise system.ClusterError(f"there is no image {image} on this machine; build it first, for example:\n  {build}")
    system.run(*buildah(), "push", "--quiet", image, f"docker-archive:{archive}:{image}")


def _is_there(*inspection: str) -> bool:
    try:
        system.run(*inspection)
    except system.ClusterError:
        return False
    return True


def _tar(files: dict[str, bytes], *, mode: int) -> bytes:
    """Return an archive that depends on nothing but its files, so that the image's digest never changes."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return result.getvalue()
