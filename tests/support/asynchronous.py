"""Runs tests that are coroutines, each in an event loop of its own. A plugin, loaded by conftest.py.

With the marker `simulated_time` the loop's time is simulated: it jumps to the next timer as soon as no task can run.
So a test of minutes takes milliseconds, and a busy machine changes nothing. Nothing outside of the loop can happen
then: no sockets, no threads, no processes.
"""

import asyncio
import inspect
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

_LONGEST: Final = 3600.0  # seconds, of simulated time in most tests
_POLL: Final = 0.05


class _Selector(selectors.SelectSelector):
    """Returns at once; what it would have waited is added to the time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See selectors.BaseSelector.

        Raises:
            RuntimeError: every task waits and there is no timer, so that nothing can happen any more.
        """
        if timeout is None:
            raise RuntimeError("every task waits for another one")
        self.now += timeout
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time begins at 0 and passes only while every task waits."""

    def __init__(self) -> None:
        self._simulated = _Selector()
        super().__init__(self._simulated)

    def time(self) -> float:
        """Return the simulated time in seconds."""
        return self._simulated.now


def simulate(scene: Coroutine[Any, Any, None]) -> None:
    """Run a scene in simulated time; for tests that are no coroutines, such as Hypothesis' ones."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(scene)


async def reaches(condition: Callable[[], object], *, within: float = _LONGEST) -> None:
    """Wait until the condition holds.

    Args:
        condition: what is waited for.
        within: how many seconds, of simulated time in a test that is marked so.
    """
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 -- the condition that is tested
            await asyncio.sleep(_POLL)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    (simulate if pyfuncitem.get_closest_marker("simulated_time") else asyncio.run)(pyfuncitem.obj(**arguments))
    return True
