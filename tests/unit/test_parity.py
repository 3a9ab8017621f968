"""The tables that list the proof of each promise name tests that exist.

`parity.md` next to this file lists what the predecessor did; two pages list threats and surroundings.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    "tests/unit/parity.md",
    "docs/explanation/surroundings.md",
    "docs/explanation/threat-model.md",
]
PAGES = {Path(file).stem: (ROOT / file).read_text() for file in FILES}


@cache
def _functions(file: str) -> set[str]:
    """The names of a file's functions; cached, because the pages name some files many times."""
    nodes = ast.parse((ROOT / file).read_text()).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", PAGES)
def test_every_test_named_on_the_page_exists(page: str) -> None:
    """Every test that a page names exists."""
    named = set(re.findall(r"`((?:tests|dev/localkind)/[\w/]+\.py)::(\w+)`", PAGES[page]))
    missing = {f"{file}::{name}" for file, name in named if name not in _functions(file)}

    assert len(named) > 40
    assert missing == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_line_of_its_tables_names_a_test(page: str) -> None:
    """Every line of the tables names a test, or the workflow for what only a release can do."""
    tables = [part for part in PAGES[page].split("\n\n") if part.partition("\n")[0].endswith("| proved by |")]
    lines = [line for table in tables for line in table.splitlines()[2:]]

    assert len(lines) > 20
    assert [line for line in lines if "::test_" not in line and ".github/workflows/" not in line] == []
