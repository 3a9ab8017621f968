"""The words that this project does not use, and what to write instead. `make check` runs it; a test runs it, too.

The command: `python -m dev.words [PATH ...]`. It reads the files that git knows, all of them or those below the paths.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]

# In texts, and as a part of names: `told`, `_told`, `isTold`. A reader may not know them, or they hide who acts.
WORDS: Final = {
    "anew": "again",
    "anybody|everybody|nobody|somebody|whoever": "the actor: a user, another transaction, no program",
    "ask|asked|asker|askers|asking|asks": "request, query, call, scrape",
    "beside|besides": "next to, in addition to, during",
    "for ?ever": "permanently, without a limit",
    "it went": "it ended, it happened",
    "seldom": "rarely",
    "sick": "unhealthy",
    "stranger|strangers": "what it is: another client, a foreign process",
    "tell|telling|tells|told": "report, show, distinguish, inform",
    "thing|things": "obj, or what it is",
    "unready": "not ready",
    "whatever|wherever|whichever": "any, every, regardless of",
}
# In code: names for which the field has a standard name.
NAMES: Final = {
    "Ailment": "Probe",
    "Claimable": "ClaimedRow",
    "Elector": "LeaderElector",
    "Gate": "CircuitBreaker",
    "Handled": "ProcessedSchedule",
    "LeaseBook": "LeaseStore",
    "Leftover": "Table",
    "Sweep": "Resync",
    "keep_looking": "monitor",
    "look_every": "retry_period",
    "renew_within": "renew_deadline",
}

# What stays: the files, the lines, and why.
ALLOWED: Final = (
    (r"^(dev/words|tests/checks/test_words)\.py$", r"", "the words themselves"),
    (r"\.py$", r"(run|serve)_forever", "the names in Python's asyncio and socketserver"),
    (r"^dev/localkind/programs/kstatus/main\.go$", r"^// Tells", "an edit of the file would build its program again"),
    (r"^dev/localkind/servers/wheels\.py$", r'= "nobody"$', "the unprivileged user of every Linux"),
    (r"\.py$", r'"Handled at', "the text of a status, not the class"),
)
# Written by others or by programs: the licence, locks, pictures.
_FOREIGN: Final = re.compile(r"^LICENSE$|^requirements/|\.(sum|mod|svg)$|package-lock\.json$")

_WORD_PATTERNS: Final = {re.compile(rf"\b({words})\b", re.IGNORECASE): instead for words, instead in WORDS.items()}
_NAME_PATTERNS: Final = {re.compile(rf"\b{name}\b"): instead for name, instead in NAMES.items()}
_BETWEEN_PARTS_OF_A_NAME: Final = re.compile(r"_|(?<=[a-z])(?=[A-Z])")


class Hit(NamedTuple):
    """A word that stands in a line, and what to write instead; line 0 is the file's own name."""

    path: str
    line: int
    word: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r}: write {self.instead}"


def find(path: str, text: str) -> Iterator[Hit]:
    """Find the words in the name and the text of a file.

    Returns:
        a hit for each word, in the order of the lines; none for what ALLOWED lists.
    """
    for number, line in enumerate([path, *text.splitlines()]):
        if any(re.search(files, path) and re.search(lines, line) for files, lines, _ in ALLOWED):
            continue
        found = _hits(_BETWEEN_PARTS_OF_A_NAME.sub(" ", line), _WORD_PATTERNS)
        if path.endswith(".py"):
            found += _hits(line, _NAME_PATTERNS)
        yield from (Hit(path, number, word, instead) for word, instead in found)


def _hits(line: str, patterns: dict[re.Pattern[str], str]) -> list[tuple[str, str]]:
    return [(match.group(), instead) for pattern, instead in patterns.items() for match in pattern.finditer(line)]


def check(*below: str) -> list[Hit]:
    """Find the words in all files that git knows, or in those below some paths."""
    listed = subprocess.run(["git", "ls-files", "-z", *below], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [path for path in listed.stdout.split("\0") if path and not _FOREIGN.search(path)]
    return [hit for path in paths if (ROOT / path).is_file() for hit in find(path, (ROOT / path).read_text())]


def main() -> int:
    """Print every hit. Returns: the exit code, 1 if there is any."""
    hits = check(*sys.argv[1:])
    print("\n".join(map(str, hits)) or "No word of the list.")
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main())
