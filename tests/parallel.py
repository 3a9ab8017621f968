"""Which tests stay together on one worker of pytest-xdist. Loaded by tests/conftest.py.

Its own `--dist=loadgroup` does not work with the pytest that we use, and files are what fixtures are made for anyway.
"""

import pytest
from xdist.scheduler import LoadScopeScheduling

_ALONE = "tests/e2e/"  # these look at the machine as a whole: no two of them at once


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]  # untyped library
    def _split_scope(self, nodeid: str) -> str:
        return _ALONE if nodeid.startswith(_ALONE) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _ByFile:
    """The tests of one file stay together, in the order in which they were collected."""
    return _ByFile(config, log)
