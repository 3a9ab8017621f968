"""What is locked can be had from any index."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKS = sorted(
    [
        *(ROOT / "requirements").glob("*.txt"),
        *(ROOT / "dev").rglob("go.sum"),
        *(ROOT / "benchmarks").rglob("go.sum"),
        *(ROOT / "benchmarks/programs/node").glob("package-lock.json"),
    ]
)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_a_lock_names_no_place(lock: Path) -> None:
    """A lock holds names, versions and hashes, and nothing of where a package was fetched from."""
    text = lock.read_text()

    assert not re.search(r"[a-z]://", text)  # a hash may begin with two slashes: h1://
    assert any(kind in text for kind in ("--hash=sha256:", '"integrity": "sha512-', " h1:"))
