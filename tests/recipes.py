"""Runs the shell commands of a documentation page as they stand there."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.waiting import PATIENCE

_DOCS: Final = Path(__file__).parents[1] / "docs"


def commands(page: str, heading: str) -> list[str]:
    """Return the blocks of shell commands under a heading, up to the next heading."""
    lines = (_DOCS / page).read_text().splitlines(keepends=True)
    begin = next(number for number, line in enumerate(lines) if re.fullmatch(rf"#+ {re.escape(heading)}\n", line))
    text, fenced = "", False
    for line in lines[begin + 1 :]:
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            break
        text += line
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(script: str, kubectl: Path, environment: Mapping[str, str], *, also: Path | None = None) -> str:
    """Run commands in the repository, with these programs first in PATH. A command that fails ends the script.

    Returns:
        What they printed.
    """
    folders = [program.parent for program in (kubectl, also) if program]
    path = ":".join([*map(str, folders), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-euc", script],
        env={"PATH": path, **environment},
        cwd=_DOCS.parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
