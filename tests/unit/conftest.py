"""What the tests of several services share."""

import pytest

from tests.unit.services import Services


@pytest.fixture
def on() -> Services:
    """Services, and the flag that objects name unless a test says otherwise."""
    services = Services()
    services.database.flag("checkout-v2")
    return services
