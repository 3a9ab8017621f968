"""Reads JSON that others may have written, a status above all: what cannot be read is absent, and nothing raises.

Frozen dataclasses use these types for their fields, and `CONFIG` for the JSON's camelCase.
"""

from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.alias_generators import to_camel

from flagschedule.domain.times import parse_any_time, rfc3339

T = TypeVar("T")

CONFIG: Final = ConfigDict(alias_generator=to_camel)
_LONGEST: Final = 262_144  # the longest text in a status: all annotations of an object together may be no longer


def _or_none(value: object, read_value: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read_value(value)
    except ValidationError:
        return None


def _each(values: object, read_values: ValidatorFunctionWrapHandler) -> Any:
    found: list[Any] = []
    for value in values if isinstance(values, list) else []:
        found += _or_none([value], read_values) or ()
    return tuple(found)


OR_NONE: Final = WrapValidator(_or_none)
EACH: Final = WrapValidator(_each)  # of a tuple: those items that can be read
Text = Annotated[str, Field(max_length=_LONGEST)]
OptionalText = Annotated[Text | None, OR_NONE]
OptionalNumber = Annotated[int | None, Field(strict=True), OR_NONE]
OptionalTime = Annotated[datetime | None, BeforeValidator(parse_any_time), PlainSerializer(rfc3339), OR_NONE]


def read(kind: TypeAdapter[T], raw: object) -> T:
    """Read a dataclass, all of whose fields have defaults, from JSON of any shape."""
    return kind.validate_python(raw if isinstance(raw, dict) else {})


def render(kind: TypeAdapter[T], value: T) -> dict[str, Any]:
    """The JSON of a dataclass, without what is absent."""
    found: dict[str, Any] = kind.dump_python(value, mode="json", by_alias=True, exclude_defaults=True)
    return found
