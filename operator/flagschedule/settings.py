"""The settings: environment variables, read once by `load`, all faults reported at once.

Everything that runs gets them from `bootstrap`; nothing else reads the environment.
"""

import logging
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from flagschedule.domain.backoff import MAX_RETRIES
from flagschedule.domain.errors import ConfigurationError

_log = logging.getLogger(__name__)
_DEFAULT_MAX_RETRIES: Final = 3
_PREFIX: Final = "FLAG_SCHEDULE_"


class Settings(BaseSettings):
    """Every setting, with its default and effect."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[
        SecretStr,
        Field(
            validation_alias="DATABASE_URL",
            description="Where the flags are: postgresql://user:password@host:port/database.",
        ),
    ]
    redis_url: Annotated[
        SecretStr | None,
        Field(
            validation_alias="REDIS_URL",
            description="The host's cache of flags: redis://… or rediss://…. Unset: there is none to invalidate.",
        ),
    ] = None
    max_retries: Annotated[
        int,
        Field(description="Retries after the first attempt, 0-10, where a schedule does not say. Default 3."),
    ] = _DEFAULT_MAX_RETRIES
    batch_size: Annotated[int, Field(ge=1, le=10_000, description="Schedules per transaction. Default 100.")] = 100
    time_budget_seconds: Annotated[
        float, Field(gt=0, description="A run starts no batch later than this after its start. Default 50.")
    ] = 50
    linger_seconds: Annotated[
        float,
        Field(
            ge=0,
            description="How long a run stays and looks again each second. Default 0: it ends when idle.",
        ),
    ] = 0
    max_lateness_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=315_360_000,
            description="A schedule first seen later than this after its time is not applied. Default 600.",
        ),
    ] = 600
    cluster: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            description="This cluster's name in a database that several clusters share. Default `default`.",
        ),
    ] = "default"
    namespaces: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="Namespaces that the operator watches, separated by commas. Default: all."),
    ] = ()
    sweep_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="How often waiting objects are looked at again for their flag; every tenth time all objects "
            "are compared with the database. Default 30.",
        ),
    ] = 30
    probe_port: Annotated[
        int, Field(ge=0, le=65535, description="Port of the operator's /healthz and /readyz. Default 8080.")
    ] = 8080
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Field(description="The least level that is logged. Default INFO."),
    ] = "INFO"
    log_format: Annotated[
        Literal["console", "json"] | None,
        Field(description="`console` or `json`. Default: console on a terminal, else json."),
    ] = None

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must look like postgresql://user:password@host:port/database")
        return url

    @field_validator("redis_url", mode="after")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must look like redis://:password@host:port/0")
        return url

    @field_validator("max_retries", mode="before")
    @classmethod
    def _as_the_original(cls, value: Any) -> int:
        """A bad value warns and means 3: the original's rule, kept for those who move from it."""
        try:
            number = int(str(value))
        except ValueError:
            number = -1
        if 0 <= number <= MAX_RETRIES:
            return number
        _log.warning(
            "FLAG_SCHEDULE_MAX_RETRIES must be a whole number from 0 to 10; using 3",
        )
        return _DEFAULT_MAX_RETRIES

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


def variable(name: str) -> str:
    """The environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"{_PREFIX}{name.upper()}"


def load() -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: with a line for every faulty variable, none of which shows a value.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = [_explain(str(fault["loc"][0]), fault) for fault in error.errors(include_input=False)]
        raise ConfigurationError(faults) from None


def _explain(name: str, fault: Any) -> str:
    if name.lower() in Settings.model_fields:
        name = variable(name.lower())
    if fault["type"] == "missing":
        return f"{name} is not set: {Settings.model_fields['database_url'].description}"
    return f"{name}: {fault['msg'].removeprefix('Value error, ')}"
