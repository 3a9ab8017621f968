"""The command: `python -m dev.image build|sbom|wheels [--tag localhost/flagschedule:dev]`."""

import argparse
import sys
import tempfile
from pathlib import Path

import flagschedule
from dev.image import base, context, materials
from dev.localkind import engines
from dev.localkind.cache import cache_dir, locked
from dev.localkind.steps import StepFailedError, step
from dev.localkind.system import ClusterError

_TAG = "localhost/flagschedule:dev"
_FINGERPRINT = "flagschedule.io/inputs"


def build(tag: str) -> None:
    """Build the image unless the tag already holds the same inputs.

    Raises:
        StepFailedError: it could not be built; the text says why and what to do.
    """
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "image.lock"):  # of two builds at once, the second finds the work done
        _build(tag, cache)


def _build(tag: str, cache: Path) -> None:
    engine = engines.choose(cache, base.image())
    engine.prepare()
    commit = context.commit()
    inputs = context.fingerprint(context.ROOT, engine.base, commit)
    found = engine.inspect(tag)
    if found and found[0].get(_FINGERPRINT) == inputs:
        print(f"{tag} is up to date ({found[1] / 1e6:.0f} MB).")
        return
    with step("Fetching the locked wheels"):
        wheels = context.download_wheels(cache)
    with step(f"Building {tag}"), tempfile.TemporaryDirectory(dir=cache, prefix="context-") as folder:
        context.stage(Path(folder), wheels)
        args = {"PYTHON_IMAGE": engine.base, "VERSION": flagschedule.__version__, "COMMIT": commit}
        engine.build(tag, Path(folder), args, {_FINGERPRINT: inputs})
    if built := engine.inspect(tag):
        print(f"{tag} is ready ({built[1] / 1e6:.0f} MB).")


def sbom(tag: str, file: Path) -> None:
    """Write the bill of materials of an image that was built.

    Raises:
        StepFailedError: there is no such image.
    """
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="image-") as folder:
        engines.choose(cache_dir(), base.image()).unpack(tag, Path(folder))
        text = materials.text(Path(folder))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    print(f"{file} lists the contents of {tag}.")


def check_wheels() -> None:
    """Download the locked wheels for each processor and Python that a release promises, and look at what is inside.

    Raises:
        StepFailedError: the index has no wheel with a locked hash, or a library is for another processor.
    """
    for machine in context.MACHINES:
        for python in context.PYTHONS:
            with tempfile.TemporaryDirectory() as folder:
                wheels = context.download_wheels(Path(folder), machine=machine, python=python, locks=context.LOCKS[:1])
                if foreign := context.foreign(wheels, machine):
                    raise StepFailedError(f"not for {machine}: {', '.join(foreign)}")
                count = len(list(wheels.glob("*.whl")))
            print(f"{machine}, Python {python}: {count} wheels with locked hashes.", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dev.image", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("build", help="build the image unless nothing has changed since the last time")
    command.set_defaults(run=lambda options: build(options.tag))
    bill = commands.add_parser("sbom", help="write its bill of materials (CycloneDX)")
    bill.add_argument("file", type=Path, help="where to, for example dist/sbom.cdx.json")
    bill.set_defaults(run=lambda options: sbom(options.tag, options.file))
    wheels = commands.add_parser("wheels", help="check the locked wheels for every processor and Python")
    wheels.set_defaults(run=lambda _: check_wheels())
    for each in (command, bill):
        each.add_argument("--tag", default=_TAG, help="the name of the image (default: %(default)s)")
    return parser


def main() -> int:
    """Run the command. Returns: the exit code, 1 if it failed."""
    options = _parser().parse_args()
    try:
        options.run(options)
    except (StepFailedError, ClusterError) as error:
        print(f"Failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
