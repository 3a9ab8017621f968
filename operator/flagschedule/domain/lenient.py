"""Reads JSON that others may have written, a status above all: what cannot be read is absent, and nothing raises.

Frozen dataclasses use these types for their fields, and `CONFIG` for the JSON's camelCase.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final, Self

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

_ADAPTERS: Final[dict[type, TypeAdapter[Any]]] = {}
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


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A status, all of whose fields have defaults: as we compute it, or as it was read from the API server.

    `foreign` is whether the JSON that was read has fields or formats that we do not write. Such a status is unequal to
    every computed one, so that the operator writes it again, and from then on it is as we write it.
    """

    foreign: Annotated[bool | None, Field(exclude=True), OR_NONE] = False

    @classmethod
    def from_json(cls, raw: object) -> Self:
        """Read a stored status, JSON of any shape; what cannot be read counts as absent."""
        found: Self = _adapter(cls).validate_python(raw if isinstance(raw, dict) else {})
        return replace(found, foreign=found.as_json() != raw)

    def as_json(self) -> dict[str, Any]:
        """The shape of the API, without what is absent."""
        found: dict[str, Any] = _adapter(type(self)).dump_python(
            self, mode="json", by_alias=True, exclude_defaults=True
        )
        return found
