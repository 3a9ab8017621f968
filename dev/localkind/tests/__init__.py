"""The tests of this package. They are a package themselves, so that the import contract covers them."""

from typing import Final

# Ends a test that fails, and says nothing about speed: a machine may be busy with other work.
PATIENCE: Final = 120.0  # seconds
