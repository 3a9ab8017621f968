"""The further connections of a run: workers for full batches, and a lane of its own for schedules that are suspect."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final, Self

import structlog

from flagschedule.domain.errors import FlagScheduleError
from flagschedule.ports.processing import ProcessStore

_log: Final = structlog.get_logger()
_LOOK: Final = 0.1  # seconds after which `finish` reads again how long it may wait
FEWER: Final = "Fewer database connections than wanted"


class WorkerPool:
    """Opened the first time that a batch is full, and kept to the run's end."""

    def __init__(self, store: ProcessStore, number: int, work: Callable[[ProcessStore], bool]) -> None:
        self._store = store
        self._number = number
        self._work = work
        self._called = False
        self._idle: SimpleQueue[ProcessStore] = SimpleQueue()
        self._pool = ThreadPoolExecutor(max(number, 1), thread_name_prefix="apply")
        self._at_work: list[Future[bool]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        while not self._idle.empty():
            self._idle.get().close()

    def call(self) -> None:
        """Let every worker that is connected and idle work, too; connect them at the first call."""
        if not self._called:
            self._called = True
            for _ in range(self._number):
                # The run does not wait for them: behind a pooler without a free connection it may take minutes.
                Thread(target=self._connect, daemon=True).start()
        for _ in range(self._idle.qsize()):  # counted once: a worker that finds nothing to do is idle again at once
            self._at_work.append(self._pool.submit(self._run, self._idle.get()))

    def wait(self) -> bool:
        """Wait until all workers have nothing left to do.

        Returns:
            whether all of them could work to the end.

        Raises:
            BaseException: what a worker raised.
        """
        at_work, self._at_work = self._at_work, []
        done = [worker.result() for worker in at_work]
        return all(done)

    def _connect(self) -> None:
        try:
            self._idle.put(self._store.connect_another())
        except FlagScheduleError as error:
            _log.warning(FEWER, error=str(error))

    def _run(self, store: ProcessStore) -> bool:
        done = self._work(store)
        if done:
            self._idle.put(store)
        else:
            store.close()
        return done


class Lane:
    """One connection for work that may take long, so that nothing else waits for it; opened when there is some."""

    def __init__(self, store: ProcessStore, work: Callable[[ProcessStore], None]) -> None:
        self._store = store
        self._work = work
        self._thread: Thread | None = None
        self._wanted = Event()
        self._closing = False
        self._connected = False
        self._tried_to_connect = Event()
        self._error: BaseException | None = None

    def wake(self) -> None:
        """Do the work once more, because there is some, or may be."""
        self._wanted.set()
        if self._thread is None:
            self._thread = Thread(target=self._run, name="lane", daemon=True)
            self._thread.start()

    def finish(self, connecting: float, working: Callable[[], float]) -> None:
        """Wait until the work is done. If no connection could be opened for it, do it on the run's first one.

        What is not done in time is never committed: its connection ends with the program.

        Args:
            connecting: how many seconds to wait for the connection.
            working: returns how many seconds to wait for the work; called repeatedly, because the program may have to
                stop meanwhile.

        Raises:
            BaseException: what the work raised.
        """
        if self._thread is None:
            return
        self._closing = True
        self._wanted.set()
        self._tried_to_connect.wait(connecting)
        if self._connected:
            since = time.monotonic()
            while self._thread.is_alive() and time.monotonic() - since < working():
                self._thread.join(_LOOK)
        else:
            self._work(self._store)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            self._tried_to_connect.set()

    def _serve(self) -> None:
        try:
            store = self._store.connect_another()
        except FlagScheduleError as error:
            _log.warning(FEWER, error=str(error))
            return
        self._connected = True
        self._tried_to_connect.set()
        try:
            closing = False
            while not closing:
                self._wanted.wait()
                closing = self._closing  # read before the work, which then includes all that came before the closing
                self._wanted.clear()
                self._work(store)
        except BaseException as error:  # noqa: BLE001 -- `finish` raises it again
            self._error = error
        finally:
            store.close()
