"""Many objects at once: one that fails does not stop the rest, and memory does not grow with their number."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from score.client.outcome import Outcome, State
from score.errors import Cancelled, NoSpace, ScoreError, Unauthenticated
from score.transfer.events import Ended, Listener
from score.transfer.retry import Stop

T = TypeVar("T")

GRACE = 3.0
"""Seconds for transfers to notice that the user asked to stop."""
FATAL = (Unauthenticated, NoSpace)
"""What every further item of a run would meet too."""


@dataclass(frozen=True)
class Many(Generic[T]):
    """``work`` for every item, ``width`` items at a time, each in a thread of its own. ``name`` gives the object id
    and the path under which an item is told of that fails."""

    work: Callable[[T], list[Outcome]]
    name: Callable[[T], tuple[str, Path | None]]
    width: int
    stop: Stop
    listener: Listener

    def run(self, items: Iterable[T]) -> Iterator[tuple[int, list[Outcome]]]:
        """What became of every item, with its number from 0, as they end; items are taken as threads get free.

        An error that every further item would meet too ends the rest at once. Raises Cancelled where the user asked
        to stop, once what is under way has noticed.
        """
        fatal: list[ScoreError] = []
        source = enumerate(items)
        running: dict[Future[list[Outcome]], int] = {}
        pool = ThreadPoolExecutor(self.width, thread_name_prefix="file")
        try:
            while True:
                while len(running) < self.width and (entry := next(source, None)) is not None:
                    running[pool.submit(self._guarded, entry[1], fatal)] = entry[0]
                if not running:
                    return
                # in pieces, so that an interrupt is seen in the main thread
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    number = running.pop(future)
                    yield number, future.result()
        except (KeyboardInterrupt, Cancelled):
            self.stop.set()
            for future in running:
                future.cancel()
            wait(running, timeout=GRACE)
            raise Cancelled(
                "Interrupted; what is finished is kept.", hint="Run the same command again to go on from there."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _guarded(self, item: T, fatal: list[ScoreError]) -> list[Outcome]:
        object_id, path = self.name(item)
        if fatal:
            return [Outcome(object_id, State.FAILED, path, error=fatal[0])]
        try:
            outcomes = self.work(item)
        except Cancelled:
            raise
        except ScoreError as error:
            if isinstance(error, FATAL):
                fatal.append(error)
            outcomes = [Outcome(object_id, State.FAILED, path, error=error)]
        for outcome in outcomes:
            _forget_frames(outcome.error)
            text = str(outcome.error) if outcome.error else ""
            self.listener(Ended(str(outcome.path or outcome.object_id), outcome.state, text))
        return outcomes


def _forget_frames(error: BaseException | None) -> None:
    """Let go of the frames that an error and its causes came through: outcomes may be kept, and so would they be."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


class Once:
    """Which objects of a run were begun. Safe to be asked by threads."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, object_id: str) -> bool:
        """Whether this is the first time that the object is begun."""
        with self._lock:
            if object_id in self._begun:
                return False
            self._begun.add(object_id)
            return True
