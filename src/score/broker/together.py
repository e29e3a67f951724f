"""What is done at the same time: equal questions that are asked once, and different ones with an order of errors."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
_REMEMBERED = 500
"""Keys of which it is known how long their last question took."""


class Together(Generic[K, R]):
    """Questions by key. One of a key is under way at a time; who comes meanwhile shares the next one.

    So nobody gets an answer to a question that was put before his own: nothing is cached, and a thousand callers at
    once cost a few calls. An error is that of all who share the question.

    Those who got an answer together come back one after another. So that the first of them does not go alone, a
    question waits for others, for ``patience`` times as long as the last one took, where that one was shared.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self._patience = patience
        self._next: dict[K, asyncio.Task[R]] = {}
        self._running: dict[K, asyncio.Task[R]] = {}
        self._shared: set[K] = set()
        self._took: OrderedDict[K, float] = OrderedDict()

    async def ask(self, key: K, question: Callable[[], Awaitable[R]]) -> R:
        """The answer to ``question``, put at or after the moment of this call."""
        task = self._next.get(key)
        if task is None:
            before = self._running.get(key)
            task = self._next[key] = asyncio.create_task(self._put(key, question, before))
            task.add_done_callback(_look_at)
        elif self._patience:
            self._shared.add(key)
        return await asyncio.shield(task)  # one who hangs up does not take the answer from the others

    async def _put(self, key: K, question: Callable[[], Awaitable[R]], before: asyncio.Task[R] | None) -> R:
        if before is not None:
            await asyncio.wait({before})
        if took := self._took.get(key, 0.0):
            await asyncio.sleep(took * self._patience)
        task = self._running[key] = self._next.pop(key)
        shared, begun = key in self._shared, time.monotonic()
        self._shared.discard(key)
        try:
            return await question()
        finally:
            if self._running.get(key) is task:
                del self._running[key]
            self._took.pop(key, None)
            if shared:
                self._remember(key, time.monotonic() - begun)

    def _remember(self, key: K, took: float) -> None:
        self._took[key] = took
        if len(self._took) > _REMEMBERED:
            self._took.popitem(last=False)


def _look_at(task: asyncio.Task[R]) -> None:
    """A failure that nobody waits for any more is none of anybody's."""
    if not task.cancelled():
        task.exception()


async def in_order(*works: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of all, which run at once; where some fail, the error of the first of them in this order."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
