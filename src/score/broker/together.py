"""What is done at the same time: equal questions that are asked once, and different ones with an order of errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class Together(Generic[K, R]):
    """Questions by key. One of a key is under way at a time; who comes meanwhile shares the next one.

    So nobody gets an answer to a question that was put before his own: nothing is cached, and a thousand callers at
    once cost a few calls. An error is that of all who share the question.
    """

    def __init__(self) -> None:
        self._next: dict[K, asyncio.Task[R]] = {}
        self._running: dict[K, asyncio.Task[R]] = {}

    async def ask(self, key: K, question: Callable[[], Awaitable[R]]) -> R:
        """The answer to ``question``, put at or after the moment of this call."""
        task = self._next.get(key)
        if task is None:
            before = self._running.get(key)
            task = self._next[key] = asyncio.create_task(self._put(key, question, before))
            task.add_done_callback(_look_at)
        return await asyncio.shield(task)  # one who hangs up does not take the answer from the others

    async def _put(self, key: K, question: Callable[[], Awaitable[R]], before: asyncio.Task[R] | None) -> R:
        if before is not None:
            await asyncio.wait({before})
        task = self._running[key] = self._next.pop(key)
        try:
            return await question()
        finally:
            if self._running.get(key) is task:
                del self._running[key]


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
