"""The checks of the code that run nothing of it. `make check` runs them all, the tests run them one by one.

The command: `python -m dev.check`.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

CHECKS: Final = {
    "lint": ("ruff", "check"),
    "format": ("ruff", "format", "--check"),
    "types": ("mypy",),
    "imports": ("lint-imports",),
    "words": ("python", "-m", "dev.words"),
    "site": ("python", "-m", "dev.pages"),
    "workflows": ("zizmor", "--offline", "--persona=pedantic", "--no-progress", "--quiet", ".github"),
}


def command(name: str) -> list[str]:
    """Return the command line of a check, with its program from the running Python's environment."""
    program, *arguments = CHECKS[name]
    return [str(Path(sys.executable).with_name(program)), *arguments]


def main() -> int:
    """Run every check. Returns: the exit code, 1 if any found something."""
    failed = []
    for name, words in CHECKS.items():
        print(f"==> {name}: {' '.join(words)}", flush=True)
        if subprocess.run(command(name), cwd=ROOT, check=False).returncode != 0:
            failed.append(name)
    print(f"Found something: {', '.join(failed)}." if failed else "All checks passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
