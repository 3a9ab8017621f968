"""What is generated in the documentation is fresh."""

from dev import generate


def test_the_table_of_settings_is_fresh() -> None:
    """docs/reference/configuration.md shows the settings of the code; `make generate` writes it."""
    assert generate.CONFIGURATION.read_text() == generate.configuration()


def test_the_table_shows_allowed_values() -> None:
    """Bounds and allowed words come from the code, so that the page cannot differ."""
    rows = [line for line in generate.configuration().splitlines() if line.startswith("| `")]
    values = {row.split(" | ")[0].strip("| `"): row.split(" | ")[2] for row in rows}

    assert values["FLAG_SCHEDULE_BATCH_SIZE"] == "1 to 10000"
    assert values["FLAG_SCHEDULE_TIME_BUDGET_SECONDS"] == "more than 0"
    assert values["FLAG_SCHEDULE_LINGER_SECONDS"] == "0 or more"
    assert values["FLAG_SCHEDULE_LOG_FORMAT"] == "`console`, `json`"
