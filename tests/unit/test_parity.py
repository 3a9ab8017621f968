"""The page that tells what proves each promise names tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "parity.md").read_text()


def test_every_test_named_on_the_page_exists() -> None:
    """A promise whose test was renamed or removed is not proved any more."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE))
    missing = {
        f"{file}::{name}"
        for file, name in named
        if name
        not in {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
    }

    assert len(named) > 50
    assert missing == set()


def test_every_line_of_its_tables_names_a_test() -> None:
    """No promise stands there without a test."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.endswith("| proved by |")]

    assert [line for line in lines if "::test_" not in line] == []
