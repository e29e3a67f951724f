"""Many objects at once: one that fails does not stop the rest, and memory does not grow with their number.

Large files have a lane of their own. Small ones spend their time on calls, of which many may wait at once, and never
wait for a large one; large ones share the threads for parts, so that more of them at once would gain nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from score.client.outcome import Outcome, State
from score.client.packed import Known
from score.errors import Cancelled, NoSpace, ScoreError, Unauthenticated, Unavailable
from score.protocol.parts import MIB
from score.transfer.events import Ended, Listener
from score.transfer.files import translated
from score.transfer.outage import LIMIT, Outage
from score.transfer.retry import Exhausted, Stop

T = TypeVar("T")

NOTICE = 0.2
"""Seconds between two looks whether the user asked to stop."""
GRACE = 3.0
"""Seconds for transfers to notice that the user asked to stop."""
LARGE = 64 * MIB
"""Bytes above which a file is large: moving it takes longer than the calls about it."""
FATAL = (Unauthenticated, NoSpace)
"""What every further item of a run would meet too."""


class Later(Exception):
    """What was begun in the lane of small files is a large one, and is to be begun again in the other lane."""


def is_large(path: Path) -> bool:
    """Whether a file is a large one; one that cannot be looked at is not: it soon fails."""
    try:
        return path.stat().st_size > LARGE
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Many(Generic[T]):
    """``work`` for every item, ``width`` items at a time, each in a thread of its own. ``name`` gives the object id
    and the path under which an item is told of that fails. Items that raise :class:`Later` are ``large_work``, of
    ``large`` items more at a time."""

    work: Callable[[T], list[Outcome]]
    name: Callable[[T], tuple[str, Path | None]]
    width: int
    stop: Stop
    listener: Listener
    large_work: Callable[[T], list[Outcome]] | None = None
    large: int = 0
    outage: Outage = field(default_factory=Outage)

    def run(self, items: Iterable[T]) -> Iterator[tuple[int, list[Outcome]]]:
        """What became of every item, with its number from 0, as they end; items are taken as threads get free.

        An error that every further item would meet too ends the rest at once, and so does a server that is away.
        Raises Cancelled where the user asked to stop, or the time for it is over, once what is under way has noticed,
        and was given as ``not finished``; at once where that was before.
        """
        self.stop.admit()
        self.outage.begin()
        fatal: list[ScoreError] = []
        source = enumerate(items)
        waiting: deque[tuple[int, T]] = deque()  # large ones, for their lane
        running: dict[Future[list[Outcome]], tuple[int, T]] = {}
        crowded: set[Future[list[Outcome]]] = set()  # those of them that are large
        pool = ThreadPoolExecutor(self.width + self.large, thread_name_prefix="file")
        done: SimpleQueue[Future[list[Outcome]]] = SimpleQueue()
        ended = 0

        def begin(work: Callable[[T], list[Outcome]], entry: tuple[int, T]) -> Future[list[Outcome]]:
            future = pool.submit(self._guarded, work, entry[1], fatal)
            running[future] = entry
            future.add_done_callback(done.put)
            return future

        def end(future: Future[list[Outcome]]) -> tuple[int, T]:
            crowded.discard(future)
            return running.pop(future)

        try:
            while True:
                while waiting and len(crowded) < self.large:
                    crowded.add(begin(self.large_work or self.work, waiting.popleft()))
                while len(running) - len(crowded) < self.width and (fresh := next(source, None)) is not None:
                    begin(self.work, fresh)
                if not running:
                    return
                self.stop.check()
                try:
                    future = done.get(timeout=NOTICE)
                except Empty:
                    continue
                try:
                    outcomes = future.result()
                except Later:
                    waiting.append(end(future))
                else:  # one that was stopped is still among those of which it is told below
                    number, _ = end(future)
                    ended += 1
                    yield number, outcomes
        except (KeyboardInterrupt, Cancelled):
            late = self.stop.is_late
            self.stop.set()
            for future in running:
                future.cancel()
            wait(running, timeout=GRACE)
            for future in [future for future in running if _has_ended(future)]:
                ended += 1
                yield running.pop(future)[0], future.result()
            why = "The time for this run is over" if late else "Interrupted"
            begun = len(running) + len(waiting)
            left = (
                f"{len(items) - ended} of {len(items)} files remain"
                if isinstance(items, Sized)
                else f"after {ended} files"
            )
            cancelled = Cancelled(
                f"{why}: {left}, {begun} are begun; what is finished is kept.",
                hint="Run the same command again to go on from there.",
            )
            self.stop.end("This client was stopped.")
            for number, item in (*running.values(), *waiting):
                object_id, path = self.name(item)
                yield number, [Outcome(object_id, State.UNFINISHED, path, error=cancelled)]
            raise cancelled from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _guarded(self, work: Callable[[T], list[Outcome]], item: T, fatal: list[ScoreError]) -> list[Outcome]:
        object_id, path = self.name(item)
        if fatal:
            return [Outcome(object_id, State.FAILED, path, error=fatal[0])]
        start = time.monotonic()
        try:
            with translated(path or object_id):  # a disk that fails may say so at any call, which is no defect
                outcomes = work(item)
        except Cancelled:
            raise
        except ScoreError as error:
            if isinstance(error, FATAL):
                fatal.append(error)
            outcomes = [Outcome(object_id, State.FAILED, path, error=error)]
        lost = next((outcome.error for outcome in outcomes if isinstance(outcome.error, Exhausted)), None)
        if lost is not None and self.outage.lose(lost):
            fatal.append(_not_begun(lost.server))
        seconds = time.monotonic() - start
        outcomes = [outcome if outcome.seconds else replace(outcome, seconds=seconds) for outcome in outcomes]
        for outcome in outcomes:
            _forget_frames(outcome.error)
            text = str(outcome.error) if outcome.error else ""
            self.listener(Ended(str(outcome.path or outcome.object_id), outcome.state, text))
        return outcomes


def _has_ended(future: Future[list[Outcome]]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _not_begun(server: str) -> Unavailable:
    return Unavailable(
        f"not begun: {server} is away, {LIMIT} files in a row got no answer of it.",
        hint="Run the same command again later; it goes on from there.",
    )


def _forget_frames(error: BaseException | None) -> None:
    """Let go of the frames that an error and its causes came through: outcomes may be kept, and so would they be."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


class Once:
    """Which objects of a run were begun. Safe to be asked by threads."""

    def __init__(self) -> None:
        self._begun = Known()
        self._lock = threading.Lock()

    def begin(self, object_id: str) -> bool:
        """Whether this is the first time that the object is begun."""
        with self._lock:
            return self._begun.add(object_id) is None

    def undo(self, object_id: str) -> None:
        """The object is to be begun again."""
        with self._lock:
            self._begun.discard(object_id)
