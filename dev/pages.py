"""Builds the site of docs/: `python -m dev.pages FOLDER`, as `make docs` does; without FOLDER it only checks.

mkdocs.yml names this module as a hook, too. It must not change what a page says.
"""

import os
import posixpath
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]

_LINK_UP: Final = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>\.\./[^)#\s]+)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Show a link to a file outside of docs/ as its text and the path, because the site has no such file.

    Returns:
        the page's text; links between pages are as they were.
    """
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def shown(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link["target"]))
        return link[0] if path.startswith("docs/") else f"{link['text']} (`{path}`)"

    return _LINK_UP.sub(shown, markdown)


def build(folder: Path) -> int:
    """Build the site into a folder, whose content is replaced. Returns: the exit code, 1 for any warning."""
    # Without --quiet: it would hide warnings from --strict, too.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    # The variable silences the theme's notice about its successor.
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=False).returncode


def main() -> int:
    """Build the site where the command line says, or into a folder that is removed afterwards."""
    if sys.argv[1:]:
        return build(Path(sys.argv[1]).absolute())
    with tempfile.TemporaryDirectory() as folder:
        return build(Path(folder))


if __name__ == "__main__":
    sys.exit(main())
