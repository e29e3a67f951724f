"""What the objects that a client reads share, and what reading needs of a client."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from score.errors import Invalid
from score.protocol.parts import MIB
from score.protocol.wire import Part, Specification
from score.reading.cache import BlockCache
from score.reading.policy import FIRST, MOST
from score.transfer.engine import Engine

T = TypeVar("T")

BLOCK = 128 * 1024
"""Bytes of a block, the unit of fetching and caching."""
MEMORY = 96 * MIB
"""Bytes of the cache in memory, over all objects."""
_VERSIONS = 10_000


class Source(Protocol):
    """Where an object comes from. Each call is one call to the server, made once and not repeated."""

    @property
    def object_id(self) -> str:
        """The object's id."""
        ...

    def specify(self) -> Specification:
        """Size, MD5s and parts of the whole object; URLs are not needed."""
        ...

    def locate(self) -> Sequence[Part]:
        """One part with a URL of the whole object that is bound to no range (``external`` in the protocol)."""
        ...


@dataclass(slots=True)
class Tally:
    """What was done so far. ``requests`` to the store and ``received`` bytes; blocks that were asked for and were
    there (``hits``), or were not (``misses``)."""

    requests: int = 0
    received: int = 0
    hits: int = 0
    misses: int = 0


class Shared:
    """Threads and cache of all objects of one client; a context manager.

    ``memory`` and ``disk`` bound the cache, in bytes; ``folder`` is where its file goes, if there is one.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        memory: int = MEMORY,
        disk: int = 0,
        folder: Path | None = None,
        parallel: int | None = None,
        block: int | None = None,
    ) -> None:
        self.engine = engine
        self._process = os.getpid()
        self.block = block or BLOCK
        self.cache = BlockCache(memory, self.block, disk, folder)
        self.parallel = parallel or max(engine.workers.parallel, 2)
        self.tally = Tally()
        self._pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="read")
        self._lock = threading.Lock()
        self._etags: OrderedDict[str, str] = OrderedDict()
        self._sequential: dict[int, int] = {}

    def __enter__(self) -> Shared:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Begin nothing more, and forget the cache. Reads under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.cache.close()

    def check_process(self, name: str) -> None:
        """Raises Invalid in a forked process: threads stay behind, and both would use the same connections and the
        same file of the cache."""
        if os.getpid() != self._process:
            raise Invalid(
                f"{name} was opened before this process was forked, and cannot be read in it.",
                hint="Open it in the new process, by a client of its own.",
            )

    def submit(self, call: Callable[[], object]) -> bool:
        """Let a thread do it; whether there are threads still."""
        try:
            self._pool.submit(call)
        except RuntimeError:
            return False
        return True

    def count(self, *, requests: int = 0, received: int = 0, hits: int = 0, misses: int = 0) -> None:
        """Add to the tally."""
        with self._lock:
            self.tally.requests += requests
            self.tally.received += received
            self.tally.hits += hits
            self.tally.misses += misses

    def etag(self, version: str, found: str = "") -> str:
        """The ETag of a version of an object, as the first answer of the store gave it; empty before that.

        All who read one version agree on it, so that blocks of a replaced object never stand beside older ones.
        """
        with self._lock:
            known = self._etags.get(version, "")
            if not known and found:
                self._etags[version] = known = found
                while len(self._etags) > _VERSIONS:
                    self._etags.popitem(last=False)
            return known

    def window(self, reader: int, sequential: int) -> int:
        """How far an object with so many sequential readers may read ahead of each, in bytes: all windows together
        fill half of the cache, so that nothing leaves it before it was read."""
        with self._lock:
            self._sequential[reader] = sequential
            readers = max(1, sum(self._sequential.values()))
        return max(min(MOST, self.cache.capacity // 2 // readers), min(FIRST, self.cache.capacity // 4))

    def leave(self, reader: int) -> None:
        """An object is read no more."""
        with self._lock:
            self._sequential.pop(reader, None)
