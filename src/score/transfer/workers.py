"""Threads for a transfer: one budget for all files, a bounded window for each, the first error ends the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """``parallel`` threads that move parts, whichever file they belong to."""

    def __init__(self, parallel: int) -> None:
        self.parallel = max(1, parallel)
        self._pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="part")

    def each(self, items: Iterable[T], work: Callable[[T], R]) -> Iterator[R]:
        """``work`` on every item; results in the order in which they come.

        At most ``parallel`` items of one call are in the threads at a time, so that a large file does not keep small
        ones waiting. The first error is raised when the calls under way have ended; no further item is begun.
        """
        source = iter(items)
        running: set[Future[R]] = set()
        failure: BaseException | None = None
        exhausted = False
        while True:
            while not exhausted and failure is None and len(running) < self.parallel:
                try:
                    item = next(source)
                except StopIteration:
                    exhausted = True
                else:
                    running.add(self._pool.submit(work, item))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                error = future.exception()
                if error is None:
                    yield future.result()
                elif failure is None:
                    failure = error
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Begin nothing more; does not wait for what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
