"""The command: `python -m dev.image build [--tag localhost/flagschedule:dev]`."""

import argparse
import sys
import tempfile
from pathlib import Path

import flagschedule
from dev.cluster.cache import cache_dir, locked
from dev.cluster.system import ClusterError
from dev.image import context, engines
from dev.image.steps import StepFailedError, step

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
    engine = engines.choose(cache)
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


def main() -> int:
    """Parse the command line; the exit code is 1 if the image could not be built."""
    parser = argparse.ArgumentParser(prog="python -m dev.image", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("build", help="build the image unless nothing has changed since the last time")
    command.add_argument("--tag", default=_TAG, help="the name of the image (default: %(default)s)")
    options = parser.parse_args()
    try:
        build(options.tag)
    except (StepFailedError, ClusterError) as error:
        print(f"The image could not be built. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
