"""MD5 of whole files, computed while their parts move."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO

from score.errors import Cancelled, Conflict, ScoreError
from score.protocol.digests import new_md5, to_hex
from score.protocol.parts import MIB, Span
from score.protocol.wire import Part
from score.transfer.budget import LARGEST_CHUNK
from score.transfer.files import read_span, translate, translated

AHEAD = 128 * MIB
"""Bytes. Parts wait for the whole file's MD5 where it is further behind than this: what would be moved sooner would
take the processor from the one thread that decides when all is done."""
_OBSERVED = 0.2
"""Seconds of a processor after which it is judged whether there is time to spare."""
_ALONE = 1.25
"""How much longer than it computes a thread may take that is left alone."""


def in_step(parts: Sequence[Part], parallel: int) -> Iterator[tuple[Part, int]]:
    """Parts to be moved, and how many bytes of the file the whole MD5 has to be past before each (see
    :meth:`Follower.wait_for`). Only what is moved counts: what was there before a file is gone on with is hashed
    meanwhile. No part of the first ``parallel`` ones waits, whatever its size."""
    ahead = max([AHEAD, *(parallel * part.part_size for part in parts[:1])])
    moved = 0
    for part in parts:
        yield part, moved - ahead
        moved += part.part_size


class Processors:
    """Whether the processors have time to spare, as those threads see it that hash whole files: who is left alone
    takes no longer than it computes. One for all files of a run; any thread may tell and ask."""

    def __init__(self) -> None:
        self.to_spare = True
        self._wall = self._cpu = 0.0

    def tell(self, wall: float, cpu: float) -> None:
        """Something was computed in ``wall`` seconds that took ``cpu`` seconds of a processor."""
        self._wall += wall
        self._cpu += cpu
        if self._cpu >= _OBSERVED:
            self.to_spare = self._wall <= _ALONE * self._cpu
            self._wall = self._cpu = 0.0


class Follower:
    """The whole MD5 of a file, in a thread of its own that follows the transfer.

    It reads the file in order, never beyond where it was allowed: what was just read or written for a part is still
    in memory, so that no byte comes from the disk twice, and a large file is not pulled through memory ahead of time.

    Parts that were ``finished`` before are compared with the file on the way; the first one that does not hold its
    bytes is the end, by :class:`Stale`.
    """

    def __init__(
        self,
        file: FileIO,
        chunk: int = LARGEST_CHUNK,
        finished: Iterable[Part] = (),
        timed: Callable[[float, float], None] = lambda wall, cpu: None,
    ) -> None:
        """``chunk``: bytes of its buffer. ``timed`` is told how long hashing takes: see
        :meth:`Processors.tell`."""
        self._file = file
        self._timed = timed
        self._chunk = chunk
        self._compared = Compared(finished)
        self._digest = new_md5()
        self._allowed = 0
        self._read = 0
        self._awaited = math.inf  # the least of the places that others wait for: to wake them in vain slows all down
        self._total: int | None = None
        self._stopped = False
        self._ended = False
        self._failure: ScoreError | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._follow, name="whole-md5", daemon=True)
        self._thread.start()

    def allow(self, end: int) -> None:
        """The bytes before ``end`` may be read now."""
        with self._changed:
            if end > self._allowed:
                self._allowed = end
                self._changed.notify_all()

    def wait_for(self, end: int, check: Callable[[], None]) -> bool:
        """Wait until it has read the bytes before ``end``, or for half a second all that it may: then it is not what
        others wait for. Gives whether that took any time. ``check`` is called now and then: it may raise to stop.
        Raises what reading raised: then nothing more needs to be moved."""
        with self._changed:
            if waits := not self._is_past(end):
                while (
                    not self._changed.wait_for(lambda: self._is_past(end), timeout=0.5) and self._read < self._allowed
                ):
                    check()
            if self._failure is not None:
                raise self._failure
            return waits

    def _is_past(self, end: int) -> bool:
        """Whether nobody has to wait for the bytes before ``end``; who has to is woken when they are read."""
        if self._ended or self._read >= end:
            return True
        self._awaited = min(self._awaited, end)
        return False

    def keeps_up(self, slack: int) -> bool:
        """Whether it has read all but the last ``slack`` bytes of what it may read; false while there is nothing."""
        return 0 < self._allowed <= self._read + slack

    def finish(self, total: int, tell: Callable[[int], None] = lambda read: None) -> str:
        """The MD5 in hex of the first ``total`` bytes, when the thread is through. ``tell`` is called now and then
        with the number of bytes that it has read. Raises what reading raised, and what ``tell`` does."""
        with self._changed:
            self._total = self._allowed = total
            self._changed.notify_all()
        while self._thread.is_alive():  # in pieces, so that an interrupt is seen in the main thread
            tell(self._read)
            self._thread.join(0.5)
        if self._failure is not None:
            raise self._failure
        if self._stopped:
            raise Cancelled("Stopped.")
        return self._digest.hexdigest()

    def stop(self) -> None:
        """Give up, if it is not through, and close the file. Raises what that raises."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()
        with translated(str(self._file.name)):
            self._file.close()

    def _wait(self) -> int:
        """How many bytes to read next; 0 when there is nothing more to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._allowed > self._read or self._total == self._read)
            return 0 if self._stopped else self._allowed - self._read

    def _follow(self) -> None:
        beside = ThreadPoolExecutor(1, thread_name_prefix="part-md5")  # to hash for two takes no longer than for one
        try:
            while length := self._wait():
                for chunk in read_span(self._file, Span(self._read, length), self._chunk):
                    comparing = beside.submit(self._compared.update, chunk) if self._compared.expects else None
                    began, computed = time.perf_counter(), time.thread_time()
                    self._digest.update(chunk)
                    self._timed(time.perf_counter() - began, time.thread_time() - computed)
                    if comparing is not None:
                        comparing.result()
                    with self._changed:
                        self._read += len(chunk)
                        if self._read >= self._awaited:
                            self._awaited = math.inf
                            self._changed.notify_all()
                    if self._stopped:
                        return
        except ScoreError as error:
            self._failure = error
        except OSError as error:
            self._failure = translate(error, str(self._file.name))
        finally:
            beside.shutdown()
            with self._changed:
                self._ended = True
                self._changed.notify_all()


class Stale(Conflict):
    """A part that was moved earlier does not hold the bytes of the file."""


class Compared:
    """The finished parts of a file, compared with its bytes as they come in order."""

    def __init__(self, finished: Iterable[Part]) -> None:
        self._left = deque(sorted((part for part in finished if part.part_size), key=lambda part: part.offset))
        self._at = 0
        self._digest = new_md5()

    @property
    def expects(self) -> bool:
        """Whether there is a part to be compared."""
        return bool(self._left)

    def update(self, chunk: memoryview) -> None:
        """The next bytes. Raises Stale where a part is not of them."""
        while chunk and self._left:
            part = self._left[0]
            begun = self._at >= part.offset
            count = min(len(chunk), (part.span.end if begun else part.offset) - self._at)
            if begun:
                self._digest.update(chunk[:count])
            self._at += count
            chunk = chunk[count:]
            if self._at == part.span.end:
                if self._digest.hexdigest() != to_hex(part.source_md5):
                    raise Stale(f"Part {part.part_number} does not hold the bytes of the file.")
                self._left.popleft()
                self._digest = new_md5()


class Prefix:
    """How far a file is whole from its start, as parts finish in any order."""

    def __init__(self, spans: list[Span]) -> None:
        self._spans = sorted(spans)
        self._finished: set[int] = set()
        self._next = 0
        self.end = 0

    def finish(self, span: Span) -> int:
        """A part is finished; gives the end of the contiguous prefix, in bytes."""
        self._finished.add(span.offset)
        while self._next < len(self._spans) and self._spans[self._next].offset in self._finished:
            self.end = self._spans[self._next].end
            self._finished.discard(self._spans[self._next].offset)
            self._next += 1
        return self.end
