"""The settings: environment variables, read once by `load`, all faults reported at once.

Everything that runs gets them from `bootstrap`; nothing else reads the environment.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from flagschedule.database_address import MUST_LOOK_LIKE, DatabaseAddress, clean, is_postgres, parts_of, read, read_url
from flagschedule.domain.backoff import MAX_RETRIES
from flagschedule.domain.defaults import SHORTEST_INTERVAL
from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError
from flagschedule.domain.notices import DEFAULT_EVENTS, NoticeEvent, Webhook, parse_keys, parse_url

_log = logging.getLogger(__name__)
_DEFAULT_MAX_RETRIES: Final = 3
_PREFIX: Final = "FLAG_SCHEDULE_"
_NO_URL: Final = "postgresql://"
# With a value that is no fault.
_IN_FILES: Final = {
    "DATABASE_URL": _NO_URL,
    "REDIS_URL": "",
    "REDIS_PASSWORD": "",
    "WEBHOOK_URL": "",
    "WEBHOOK_SIGNING_KEYS": "",
}
_UNSIGNED: Final = (
    "WEBHOOK_SIGNING_KEYS is not set, and WEBHOOK_URL is; "
    'make a key with `echo "whsec_$(openssl rand -base64 32)"` and give it to the receiver, too'
)


def _prefixed(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"


class Settings(BaseModel):
    """Every setting, with its default and effect. Fields are given by the names of their variables."""

    model_config = ConfigDict(alias_generator=_prefixed, frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[
        SecretStr,
        Field(
            validation_alias="DATABASE_URL",
            description="Where the flags are: postgresql://user:password@host:port/database. "
            "Options of libpq such as ?sslmode=verify-full are passed on. Parts that it leaves out are taken from "
            "DATABASE_FOLDER, then from libpq's own variables (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE). With "
            "DATABASE_FOLDER it may be missing.",
        ),
    ]
    database_url_file: Annotated[
        Path | None,
        Field(
            validation_alias="DATABASE_URL_FILE",
            description="A file that holds the DATABASE_URL, instead of the variable. It is read at each connect, so "
            "that a rotated password needs no restart.",
        ),
    ] = None
    database_folder: Annotated[
        Path | None,
        Field(
            validation_alias="DATABASE_FOLDER",
            description="A folder with a file for each part of the address that DATABASE_URL leaves out: host, port, "
            "user (or username), password, dbname (or database), as Kubernetes mounts a Secret. They are read at each "
            "connect and need no escaping.",
        ),
    ] = None
    redis_url: Annotated[
        SecretStr | None,
        Field(
            validation_alias="REDIS_URL",
            description="The host's cache of flags: redis://:password@host:port/0, or rediss:// for TLS. "
            "Without it there is no cache to invalidate.",
        ),
    ] = None
    redis_url_file: Annotated[
        Path | None,
        Field(
            validation_alias="REDIS_URL_FILE",
            description="A file that holds the REDIS_URL, instead of the variable. It is read when a run starts.",
        ),
    ] = None
    redis_password: Annotated[
        SecretStr | None,
        Field(
            validation_alias="REDIS_PASSWORD",
            description="The password for a REDIS_URL that has none: redis://host:port/0, or redis://user@host:port/0. "
            "It needs no escaping.",
        ),
    ] = None
    redis_password_file: Annotated[
        Path | None,
        Field(
            validation_alias="REDIS_PASSWORD_FILE",
            description="A file that holds the REDIS_PASSWORD, instead of the variable. It is read when a run starts.",
        ),
    ] = None
    webhook_url: Annotated[
        SecretStr | None,
        Field(
            validation_alias="WEBHOOK_URL",
            description="Where the operator sends notices of changes, https://host/path. Without it there are none.",
        ),
    ] = None
    webhook_url_file: Annotated[
        Path | None,
        Field(
            validation_alias="WEBHOOK_URL_FILE",
            description="A file that holds the WEBHOOK_URL, instead of the variable. It is read again while the "
            "operator runs.",
        ),
    ] = None
    webhook_signing_keys: Annotated[
        SecretStr | None,
        Field(
            validation_alias="WEBHOOK_SIGNING_KEYS",
            description="What notices are signed with: `whsec_` and the base64 of 24 to 64 random bytes. Several, with "
            "spaces between them, while receivers change theirs.",
        ),
    ] = None
    webhook_signing_keys_file: Annotated[
        Path | None,
        Field(
            validation_alias="WEBHOOK_SIGNING_KEYS_FILE",
            description="A file that holds the WEBHOOK_SIGNING_KEYS, instead of the variable. It is read again while "
            "the operator runs.",
        ),
    ] = None
    webhook_events: Annotated[
        tuple[NoticeEvent, ...],
        Field(
            min_length=1,
            description=f"Of which events there are notices, separated by commas: {', '.join(NoticeEvent)}.",
        ),
    ] = DEFAULT_EVENTS
    max_retries: Annotated[
        int,
        Field(
            description="How often a failed first attempt is tried again, 0 to 10, where a schedule does not set it. "
            "Any other value warns and means 3.",
        ),
    ] = _DEFAULT_MAX_RETRIES
    batch_size: Annotated[
        int,
        Field(ge=1, le=10_000, description="How many schedules one transaction of the processor applies at most."),
    ] = 100
    concurrency: Annotated[
        int,
        Field(
            ge=1,
            le=16,
            description="How many such transactions one run has at the same time, each on a connection of its own. "
            "The further ones are opened when a batch is full, and kept to the end of the run.",
        ),
    ] = 2
    time_budget_seconds: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="A run of the processor starts no batch later than this after its start, or than it lingers "
            "if that is longer; the next run goes on with the rest.",
        ),
    ] = 50
    linger_seconds: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="How long a run of the processor stays after its start and looks for what comes due, at the "
            "latest each second. With 0 it ends when nothing is due.",
        ),
    ] = 0
    max_lateness_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=315_360_000,
            description="An object that is first seen, or moved by an edit, later than this after its time "
            "is not applied but Expired; its startingDeadlineSeconds may allow more, up to a day.",
        ),
    ] = 600
    shortest_interval_seconds: Annotated[
        int,
        Field(
            ge=60,
            le=86_400,
            description="A FlagPlan whose cron step starts twice within less than this is Invalid.",
        ),
    ] = int(SHORTEST_INTERVAL.total_seconds())
    record_actors: Annotated[
        bool,
        Field(
            description="Whether the operator records who created and who changed a FlagSchedule, and every version of "
            "it, by annotations that a MutatingAdmissionPolicy writes. The chart sets it where it installs the policy; "
            "without the policy the annotations are what any user wrote.",
        ),
    ] = False
    show_database_messages: Annotated[
        bool,
        Field(
            description="Whether a failed schedule's status and row show the text that a trigger of the application's "
            "raised (RAISE EXCEPTION). The attempt's record always has it. All readers of FlagSchedules can read it.",
        ),
    ] = False
    keep_applied_days: Annotated[
        int,
        Field(
            ge=1,
            le=36_500,
            description="After how many days the cleanup deletes the row of an applied schedule.",
        ),
    ] = 90
    keep_cancelled_days: Annotated[
        int,
        Field(
            ge=1,
            le=36_500,
            description="After how many days the cleanup deletes the row of a cancelled schedule.",
        ),
    ] = 30
    cluster: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            description="This cluster's name in the database. Clusters that share a database need different names.",
        ),
    ] = "default"
    identity_namespace: Annotated[
        str,
        Field(
            min_length=1,
            description="The namespace whose uid distinguishes this cluster from another of the same name. The "
            "operator needs the right to get it. Where it may not read kube-system, name its own namespace.",
        ),
    ] = "kube-system"
    namespaces: Annotated[
        tuple[str, ...],
        Field(description="The namespaces that the operator watches, separated by commas. Without it, it watches all."),
    ] = ()
    sweep_seconds: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="How often the operator looks for the flags of waiting objects; every tenth time it compares "
            "all objects with the database.",
        ),
    ] = 30
    lease_namespace: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Namespace of the Lease that decides which of several operators works. Default: that of the "
            "operator's pod; outside of a pod there is no Lease, and the operator always works.",
        ),
    ] = None
    lease_name: Annotated[
        str,
        Field(min_length=1, description="Name of that Lease. Default `flagschedule-operator`."),
    ] = "flagschedule-operator"
    probe_port: Annotated[
        int, Field(ge=0, le=65535, description="The port of the operator's /healthz, /readyz and /metrics.")
    ] = 8080
    allow_overrides: Annotated[
        bool,
        Field(
            description="Whether the annotation flagschedule.io/override-freeze of a FlagSchedule is believed. Set it "
            "only where the policy is installed that guards it: every user who may edit the object can write it."
        ),
    ] = False
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Field(description="The least level that is logged."),
    ] = "INFO"
    log_format: Annotated[
        Literal["console", "json"] | None,
        Field(
            description="Lines for people (console), or one JSON object a line (json). "
            "Without it, console on a terminal and json elsewhere."
        ),
    ] = None

    @property
    def database(self) -> str | Callable[[], str]:
        """The database's URL, or what reads it where a part of it is in a file."""
        url = self.database_url.get_secret_value()
        if self.database_url_file is None and self.database_folder is None:
            return url
        return DatabaseAddress(self.database_url_file or url, self.database_folder)

    @property
    def has_webhook(self) -> bool:
        """Whether notices are sent."""
        return self.webhook_url is not None

    def webhook(self) -> Webhook:
        """Return where notices go, as it is now where it is in files; only if `has_webhook`.

        Raises:
            DependencyUnavailableError: a file cannot be read, or holds what cannot be right.
        """
        url = _current(self.webhook_url, "WEBHOOK_URL_FILE", self.webhook_url_file)
        keys = _current(self.webhook_signing_keys, "WEBHOOK_SIGNING_KEYS_FILE", self.webhook_signing_keys_file)
        try:
            return Webhook(url=parse_url(url), keys=parse_keys(keys))
        except ValueError as error:
            raise DependencyUnavailableError(f"a file of the webhook's holds what cannot be right: {error}") from None

    @field_validator("database_url", "redis_url", "webhook_url", "webhook_signing_keys", mode="before")
    @classmethod
    def _strip(cls, url: Any) -> Any:
        return clean(url) if isinstance(url, str) else url

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr) -> SecretStr:
        if not is_postgres(url.get_secret_value()):
            raise ValueError(MUST_LOOK_LIKE)
        return url

    @field_validator("redis_url", mode="after")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must look like redis://:password@host:port/0")
        return url

    @field_validator("redis_password")
    @classmethod
    def _without_newline(cls, password: SecretStr | None) -> SecretStr | None:
        """Drop the newline of a file; an empty password is none, as an optional key of a Secret leaves it."""
        text = password.get_secret_value().rstrip("\r\n") if password else ""
        return SecretStr(text) if text else None

    @field_validator("webhook_url", mode="after")
    @classmethod
    def _is_receiver(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        parse_url(url.get_secret_value())
        return url

    @field_validator("webhook_signing_keys", mode="after")
    @classmethod
    def _are_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is None or not keys.get_secret_value():
            return None
        parse_keys(keys.get_secret_value())
        return keys

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

    @field_validator("namespaces", "webhook_events", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return str(Settings.model_fields[name].validation_alias)


def default(name: str) -> str:
    """What a setting is when its variable is not set, in a word for people."""
    field = Settings.model_fields[name]
    if field.is_required():
        return "required"
    if field.default in {None, ()}:
        return "not set"
    return ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)


def load() -> Settings:
    """Read the environment, and the files that it names.

    Raises:
        ConfigurationError: with a line for every faulty variable, none of which shows a value.
    """
    values = dict(os.environ)
    faults = _read_files(values)
    try:
        loaded = Settings.model_validate(values)
    except ValidationError as error:
        faults += [_explain(str(fault["loc"][0]), fault) for fault in error.errors(include_input=False)]
    else:
        faults += _contradictions(loaded)
    if faults:
        raise ConfigurationError(faults)
    return loaded


def _read_files(values: dict[str, str]) -> list[str]:
    """Put the contents of the files that variables name in the place of the variables that they replace.

    Returns:
        a sentence for each fault.
    """
    faults = []
    for name, harmless in _IN_FILES.items():
        path = values.get(f"{name}_FILE") or values.pop(f"{name}_FILE", "")
        if path and values.get(name):
            faults.append(f"{name} and {name}_FILE are both set; set one of them")
        elif path:
            try:
                values[name] = read_url(Path(path)) if name == "DATABASE_URL" else read(f"{name}_FILE", Path(path))
            except DependencyUnavailableError as error:
                faults.append(str(error))
                values[name] = harmless
    if values.get("DATABASE_FOLDER") or values.pop("DATABASE_FOLDER", ""):
        values["DATABASE_URL"] = values.get("DATABASE_URL") or _NO_URL
    return faults


def _contradictions(loaded: Settings) -> list[str]:
    """What is wrong with settings that are each right."""
    faults: list[str] = []
    if loaded.database_folder:
        try:
            DatabaseAddress(loaded.database_url.get_secret_value(), loaded.database_folder)()
        except ConfigurationError as error:
            faults += error.faults
        except DependencyUnavailableError as error:
            faults.append(str(error))
    if loaded.redis_password:
        if loaded.redis_url is None:
            faults.append("REDIS_PASSWORD is set and REDIS_URL is not; set REDIS_URL to redis://host:port/0")
        elif "password" in parts_of(loaded.redis_url.get_secret_value()):
            faults.append("REDIS_URL and REDIS_PASSWORD both hold the password; leave it out of the URL")
    if loaded.webhook_url is not None and loaded.webhook_signing_keys is None:
        faults.append(_UNSIGNED)
    elif loaded.webhook_url_file is not None and loaded.webhook_url is None:
        faults.append("WEBHOOK_URL_FILE: the file is empty; let it hold the URL, or remove the variable")
    return faults


def _current(text: SecretStr | None, name: str, path: Path | None) -> str:
    """The content of a setting, which a file may hold that changes."""
    if path is not None:
        return clean(read(name, path))
    return text.get_secret_value() if text else ""


def _explain(name: str, fault: Any) -> str:
    if fault["type"] == "missing":
        return f"{name} is not set: {Settings.model_fields['database_url'].description}"
    return f"{name}: {fault['msg'].removeprefix('Value error, ')}"
