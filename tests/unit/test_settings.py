"""Settings: read once, all faults at once, no secret shown."""

from pathlib import Path

import pytest

from flagschedule import settings
from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError

URL = "postgresql://user:hunter2@db.example:5432/app"


@pytest.fixture(autouse=True)
def database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one setting without a default."""
    monkeypatch.setenv("DATABASE_URL", URL)


def test_the_defaults_are_the_designs() -> None:
    """With only the database set, the settings have the documented defaults."""
    loaded = settings.load()

    assert loaded.model_dump(exclude={"database_url"}) == {
        "redis_url": None,
        "database_url_file": None,
        "database_folder": None,
        "redis_url_file": None,
        "redis_password": None,
        "redis_password_file": None,
        "webhook_url": None,
        "webhook_url_file": None,
        "webhook_signing_keys": None,
        "webhook_signing_keys_file": None,
        "webhook_events": ("applied", "failed", "expired", "frozen"),
        "max_retries": 3,
        "batch_size": 100,
        "concurrency": 2,
        "time_budget_seconds": 50,
        "linger_seconds": 0,
        "max_lateness_seconds": 600,
        "shortest_interval_seconds": 300,
        "record_actors": False,
        "show_database_messages": False,
        "keep_applied_days": 90,
        "keep_cancelled_days": 30,
        "cluster": "default",
        "identity_namespace": "kube-system",
        "namespaces": (),
        "sweep_seconds": 30,
        "lease_namespace": None,
        "lease_name": "flagschedule-operator",
        "probe_port": 8080,
        "allow_overrides": False,
        "log_level": "INFO",
        "log_format": None,
    }


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("10", 10), ("11", 3), ("-1", 3), ("2.5", 3), ("many", 3), ("", 3)]
)
def test_max_retries_as_the_original(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str, number: int
) -> None:
    """0 to 10 is taken; anything else warns and means 3."""
    monkeypatch.setenv("FLAG_SCHEDULE_MAX_RETRIES", text)

    assert settings.load().max_retries == number
    assert bool(caplog.records) == (text not in {"0", "10"})


FAULTS = {
    "DATABASE_URL": "mysql://hunter2",
    "REDIS_URL": "hunter2",
    "FLAG_SCHEDULE_BATCH_SIZE": "hunter2",
    "FLAG_SCHEDULE_TIME_BUDGET_SECONDS": "inf",
    "FLAG_SCHEDULE_LINGER_SECONDS": "-1",
    "FLAG_SCHEDULE_MAX_LATENESS_SECONDS": "1.5",
    "FLAG_SCHEDULE_CLUSTER": "",
    "FLAG_SCHEDULE_SWEEP_SECONDS": "nan",
    "FLAG_SCHEDULE_PROBE_PORT": "65536",
    "FLAG_SCHEDULE_LOG_LEVEL": "hunter2",
    "FLAG_SCHEDULE_LOG_FORMAT": "hunter2",
}


def test_all_faults_are_reported_at_once_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each faulty variable has its line, and none of them repeats what was in it."""
    for name, value in FAULTS.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError) as caught:
        settings.load()

    assert [fault.split(":")[0] for fault in caught.value.faults] == list(FAULTS)
    assert all(len(fault.split(": ", 1)[1]) > 10 for fault in caught.value.faults)
    assert "hunter2" not in str(caught.value)


def test_a_missing_database_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DATABASE_URL the message shows what one looks like."""
    monkeypatch.delenv("DATABASE_URL")

    with pytest.raises(ConfigurationError, match=r"DATABASE_URL is not set.*postgresql://user:password@"):
        settings.load()


@pytest.mark.parametrize(
    ("before", "after"), [("", "\n"), (" ", " "), ("", "\r\n"), ("\ufeff", "\n"), ("'", "'"), ('"', '"\n')]
)
def test_what_belongs_to_no_url_is_dropped(monkeypatch: pytest.MonkeyPatch, before: str, after: str) -> None:
    """The newline of a file, an editor's byte order mark and the quotes of an env file are no part of a URL."""
    monkeypatch.setenv("DATABASE_URL", before + URL + after)
    monkeypatch.setenv("REDIS_URL", f"{before}redis://cache.example:6379/0{after}")

    loaded = settings.load()

    assert loaded.database == URL
    assert loaded.redis_url
    assert loaded.redis_url.get_secret_value() == "redis://cache.example:6379/0"


def test_urls_may_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files hold the URLs, and the file of the database's URL is read again at each use."""
    database, cache = tmp_path / "database-url", tmp_path / "redis-url"
    database.write_text(f"{URL}\n")
    cache.write_text("redis://cache.example:6379/0\n")
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL_FILE", str(database))
    monkeypatch.setenv("REDIS_URL_FILE", str(cache))

    loaded = settings.load()

    assert callable(loaded.database)
    assert loaded.database() == URL
    assert loaded.redis_url
    database.write_text(f"{URL}2\n")
    assert loaded.database() == f"{URL}2"
    database.unlink()
    with pytest.raises(DependencyUnavailableError, match="DATABASE_URL_FILE"):
        loaded.database()


def test_faults_of_files_are_reported_with_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable together with its file, a missing file and another fault are reported in three lines."""
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "database-url"))
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "nothing"))
    monkeypatch.setenv("FLAG_SCHEDULE_BATCH_SIZE", "0")

    with pytest.raises(ConfigurationError) as raised:
        settings.load()

    assert len(raised.value.faults) == 3
    assert "DATABASE_URL and DATABASE_URL_FILE" in raised.value.faults[0]
    assert "REDIS_URL_FILE: the file cannot be read" in raised.value.faults[1]


def test_a_password_for_redis_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file's password, without the newline of `echo`, goes with a URL that has none; an empty one is none."""
    file = tmp_path / "redis-password"
    file.write_text("hunter2/@\n")
    monkeypatch.setenv("REDIS_URL", "redis://clerk@cache.example:6379/0")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))

    loaded = settings.load()

    assert loaded.redis_password
    assert loaded.redis_password.get_secret_value() == "hunter2/@"
    monkeypatch.delenv("REDIS_PASSWORD_FILE")
    monkeypatch.setenv("REDIS_PASSWORD", "")
    assert settings.load().redis_password is None


@pytest.mark.parametrize(
    ("url", "said"), [("", "set REDIS_URL to"), ("redis://:hunter2@cache.example/0", "leave it out of the URL")]
)
def test_a_password_for_redis_that_has_no_place_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    """A password without a URL, or with a URL that has one, is refused with what to do."""
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")

    with pytest.raises(ConfigurationError, match=said) as raised:
        settings.load()

    assert "hunter2" not in str(raised.value)


def test_namespaces_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Namespaces are separated by commas; blanks do not matter."""
    monkeypatch.setenv("FLAG_SCHEDULE_NAMESPACES", "shop, payments ,")

    assert settings.load().namespaces == ("shop", "payments")


def test_an_empty_cache_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty REDIS_URL, as an optional Secret key leaves it, means that there is none."""
    monkeypatch.setenv("REDIS_URL", "")

    assert settings.load().redis_url is None


def test_secrets_are_not_in_the_representation() -> None:
    """Printed settings contain no password."""
    assert "hunter2" not in repr(settings.load())


def test_every_setting_has_a_sentence() -> None:
    """Each setting is described in sentences, for the documentation and for `--help`."""
    descriptions = [field.description or "" for field in settings.Settings.model_fields.values()]

    assert all(text[:1].isupper() and text.endswith(".") for text in descriptions)
