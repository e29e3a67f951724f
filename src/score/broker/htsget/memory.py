"""What was read and is remembered: so many bytes of it, the latest used."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Protocol, TypeVar


class Weighty(Protocol):
    """Something that knows about how many bytes of memory it takes."""

    @property
    def weight(self) -> int: ...


V = TypeVar("V", bound=Weighty)


class Memory:
    """Keeps up to ``most`` bytes. Who asks for the same at the same time waits for one reading of it, and at most
    ``at_once`` readings go on. What fails is not remembered."""

    def __init__(self, most: int, at_once: int) -> None:
        self._most = most
        self._turn = asyncio.Semaphore(at_once)
        self._kept: OrderedDict[Hashable, Weighty] = OrderedDict()
        self._total = 0
        self._running: dict[Hashable, asyncio.Task[Weighty]] = {}

    async def get(self, key: Hashable, kind: type[V], read: Callable[[], Awaitable[V]]) -> V:
        """What is kept under ``key``, else what ``read`` gives. A key always stands for the same ``kind``."""
        if key in self._kept:
            self._kept.move_to_end(key)
            found = self._kept[key]
        else:
            task = self._running.get(key)
            if task is None:
                task = self._running[key] = asyncio.create_task(self._read(key, read))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting
            found = await asyncio.shield(task)
        assert isinstance(found, kind)
        return found

    async def _read(self, key: Hashable, read: Callable[[], Awaitable[Weighty]]) -> Weighty:
        try:
            async with self._turn:
                found = await read()
        finally:
            del self._running[key]
        if found.weight <= self._most:
            self._kept[key] = found
            self._total += found.weight
            while self._total > self._most:
                _, dropped = self._kept.popitem(last=False)
                self._total -= dropped.weight
        return found
