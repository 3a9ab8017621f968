"""Random operations on plans. `python -m tests.cases plans` does more of them."""

from tests.support.plan_operations import PlanOperations

_SEED = 3


async def test_after_any_operations_rows_are_what_the_last_spec_says_and_nothing_is_made_twice(
    database_url: str,
) -> None:
    """Consistent with the spec, as if created with it, nothing twice, no end without its start, no soak shortened."""
    operations = PlanOperations(database_url, _SEED)
    try:
        for _ in range(12):
            await operations.step()
    except AssertionError as error:
        error.add_note("\n".join(operations.words))
        raise
    assert operations.attempts > 3, "so little happened that nothing was proved"
