"""Which tests stay together on one worker of pytest-xdist. Loaded by conftest.py.

Its own `--dist=loadgroup` does not work with the pytest that we use, and files are what fixtures are made for anyway.
"""

import pytest
from xdist.scheduler import LoadScopeScheduling

# These look at the machine as a whole: no two of them at once.
_ALONE = ("tests/e2e/", "dev/localkind/tests/test_nodes.py")


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]  # untyped library
    def _split_scope(self, nodeid: str) -> str:
        return _ALONE[0] if nodeid.startswith(_ALONE) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _ByFile:
    """Keep the tests of one file together, in the order in which they were collected."""
    return _ByFile(config, log)
