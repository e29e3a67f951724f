"""Threads for a transfer: one budget for all files, shared out fairly, a bounded window for each file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from score.errors import Cancelled, Refused

T = TypeVar("T")
R = TypeVar("R")


@dataclass(eq=False)
class _Line:
    """The items of one file. ``ended`` gets each result, or None once nothing more comes."""

    source: Iterator[Any]
    work: Callable[[Any], Any]
    ended: SimpleQueue[tuple[Any] | None] = field(default_factory=SimpleQueue)
    following: tuple[Any] | None = None
    running: int = 0
    served: int = 0
    exhausted: bool = False
    failure: BaseException | None = None

    def look(self) -> None:
        """Have the next item, or know that there is none."""
        if self.following is None and not self.exhausted:
            try:
                self.following = (next(self.source),)
            except StopIteration:
                self.exhausted = True
            except BaseException as error:  # noqa: BLE001 - it is raised to whoever waits for the file
                self.exhausted = True
                self.failure = error


class Workers:
    """``parallel`` threads that move parts, whichever file they belong to.

    A thread that is free takes a part of the file that has the fewest under way, of several of the one that has
    waited longest: a small file never queues behind the parts of large ones, and no file is left out.
    """

    def __init__(self, parallel: int) -> None:
        self.parallel = max(1, parallel)
        self._changed = threading.Condition()
        self._lines: list[_Line] = []
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._turn = 0
        self._closed = False

    def each(self, items: Iterable[T], work: Callable[[T], R]) -> Iterator[R]:
        """``work`` on every item; results in the order in which they come.

        Items are taken one by one, as threads become free for them. The first error is raised when the calls under
        way have ended; no further item is begun. Raises Cancelled where :meth:`close` left items undone: an end
        without an error means that all were worked on. Raises Refused where the system gives no thread at all.
        """
        line = _Line(iter(items), work)
        with self._changed:
            if self._closed:
                raise Cancelled("Stopped.")
            line.look()
            if line.exhausted:
                line.ended.put(None)
            else:
                self._wake()
                line.served = self._turn
                self._lines.append(line)
        try:
            while (result := line.ended.get()) is not None:
                yield result[0]
        finally:
            with self._changed:
                line.exhausted = True
        if line.failure is not None:
            raise line.failure

    def close(self) -> None:
        """Begin nothing more; does not wait for what runs."""
        with self._changed:
            self._closed = True
            for line in list(self._lines):
                if not line.exhausted:
                    line.exhausted = True
                    line.failure = line.failure or Cancelled("Stopped.")
                self._end(line)
            self._changed.notify_all()

    def _wake(self) -> None:
        """Have threads look for work: those that wait, and new ones up to the budget."""
        if not self._idle and len(self._threads) < self.parallel:
            # They end with the program: what they do is as safe to leave as in a crash.
            thread = threading.Thread(target=self._serve, name=f"part-{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # those that there are do it all
                if not self._threads:
                    raise Refused(
                        "The system starts no more threads for this program.",
                        hint="Raise its limit of processes (ulimit -u, or that of the container).",
                    ) from error
            else:
                self._threads.append(thread)
        self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while (taken := self._take()) is None:
                    if self._closed:
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                self._wake()  # the next one, if there is more to do
            line, item = taken
            failure: BaseException | None = None
            try:
                result = line.work(item)
            except BaseException as error:  # noqa: BLE001 - it is raised to whoever waits for the file
                failure = error
            with self._changed:
                line.running -= 1
                if failure is None:
                    line.ended.put((result,))
                else:
                    line.failure = line.failure or failure
                    line.exhausted = True
                if not line.running:
                    line.look()  # a file that is done waits for no thread that has to do with others
                self._end(line)
            del item, taken, failure

    def _take(self) -> tuple[_Line, Any] | None:
        """The next item to work on, None where there is none for now."""
        while True:
            waiting = [line for line in self._lines if not line.exhausted and line.running < self.parallel]
            if not waiting or self._closed:
                return None
            line = min(waiting, key=lambda one: (one.running, one.served))
            line.look()
            if line.following is not None:
                (item,) = line.following
                line.following = None
                self._turn += 1
                line.served = self._turn
                line.running += 1
                return line, item
            self._end(line)

    def _end(self, line: _Line) -> None:
        """Let go of a line of which nothing more comes."""
        if line.exhausted and not line.running and line in self._lines:
            self._lines.remove(line)
            line.ended.put(None)
