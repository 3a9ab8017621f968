"""Names of images, for clusters that pull them. Called by `clusters`."""

import os
from pathlib import Path


def overlay(base: Path, folder: Path, image: str) -> Path:
    """Write a kustomization that is another one with this image. Returns: its folder."""
    folder.mkdir(exist_ok=True)
    name, tag, digest = split(image)
    lines = [
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        "resources:",
        f"  - {os.path.relpath(base.resolve(), folder.resolve())}",  # kustomize refuses absolute paths
        "images:",
        "  - name: localhost/flagschedule",
        f'    newName: "{name}"',
        *([f'    newTag: "{tag}"'] if tag else []),
        *([f'    digest: "{digest}"'] if digest else []),
    ]
    (folder / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    return folder


def split(image: str) -> tuple[str, str, str]:
    """Name, tag and digest of `registry:5000/name:tag@sha256:…`; latest where neither is given, as everywhere."""
    rest, _, digest = image.partition("@")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:  # a port
        name, tag = rest, "" if digest else "latest"
    return name, tag, digest
