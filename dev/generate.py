"""Writes what is generated in the documentation: the table of the settings. A test checks that it is fresh.

The command: `python -m dev.generate`, as `make generate` does.
"""

import re
from pathlib import Path
from types import NoneType
from typing import Any, Final, get_args

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic.fields import FieldInfo

from flagschedule import settings

CONFIGURATION: Final = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"
_MARKED: Final = re.compile(r"(?<=<!-- settings -->\n).*(?=<!-- /settings -->)", re.DOTALL)
_HEAD: Final = "| variable | meaning | values | default |\n|---|---|---|---|\n"


def configuration() -> str:
    """Return the page of the settings as it should be: the table between the marks is generated again."""
    rows = (_row(name, field) for name, field in settings.Settings.model_fields.items())
    table = _HEAD + "".join(rows)
    return _MARKED.sub(lambda _: table, CONFIGURATION.read_text())


def _row(name: str, field: FieldInfo) -> str:
    default = settings.default(name)
    default = default if default in {"required", "not set"} else f"`{default}`"
    return f"| `{settings.variable(name)}` | {field.description} | {_values(field)} | {default} |\n"


def _values(field: FieldInfo) -> str:
    """Return the values that are allowed, in a few words; empty where the meaning says it all."""
    if words := _words(field.annotation):
        return ", ".join(f"`{word}`" for word in words)
    bounds: dict[type, Any] = {type(bound): bound for bound in field.metadata}
    if MaxLen in bounds:
        return f"1 to {bounds[MaxLen].max_length} characters"
    if Gt in bounds:
        return f"more than {bounds[Gt].gt}"
    if Ge in bounds:
        return f"{bounds[Ge].ge} to {bounds[Le].le}" if Le in bounds else f"{bounds[Ge].ge} or more"
    return ""


def _words(annotation: Any) -> list[str]:
    """Return the values of a Literal, also of one that may be absent."""
    parts = [part for part in get_args(annotation) if part is not NoneType]
    return [word for part in parts for word in ([part] if isinstance(part, str) else _words(part))]


def main() -> None:
    """Write the generated parts."""
    CONFIGURATION.write_text(configuration())
    print(f"==> {CONFIGURATION.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
