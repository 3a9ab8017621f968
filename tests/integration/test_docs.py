"""The SQL that the pages show runs on the schema of the product."""

import re
from pathlib import Path

import pytest

from tests.integration.database import Database

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "operations.md"
BLOCKS = [block.strip() for block in re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)]


def test_there_is_something_to_run() -> None:
    """The page has SQL blocks that the next test runs."""
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][:40])
def test_the_sql_of_the_page_runs(database: Database, block: str) -> None:
    """Every statement is accepted by a migrated database."""
    for statement in filter(None, map(str.strip, block.split(";"))):
        database.connection.execute(statement.encode())
