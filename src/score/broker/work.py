"""Work that goes on when whoever asked for it has gone, done once however many ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from score.errors import Unavailable

HOLD = 45.0
"""Seconds that a caller is held: clients hang up after 60, and give up after ten quick refusals."""
_AGAIN = 5.0
"""Seconds after which to ask again."""
_KEPT = 60.0
"""Seconds for which a failure that nobody waited for is kept for the next caller."""

Key = tuple[str, str]
T = TypeVar("T")


class Work:
    """Tasks by key, of which each runs once at a time. ``hold`` is in seconds, as is what ``clock`` gives.

    A caller waits up to ``hold`` for the end; then Unavailable says to ask again, while the task goes on. A failure
    that no caller was there for is raised to the next one, who thereby learns of it without starting all over.
    """

    def __init__(self, hold: float = HOLD, clock: Callable[[], float] = time.monotonic) -> None:
        self._hold = hold
        self._clock = clock
        self._running: dict[Key, asyncio.Task[Any]] = {}
        self._waiting: dict[Key, int] = {}
        self._failed: dict[Key, tuple[float, BaseException]] = {}

    async def do(self, key: Key, what: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the task of ``key`` gives, which ``start`` begins where none runs. ``what`` names it in messages."""
        task = self._running.get(key)
        if task is None:
            self._raise_failure(key)
            task = self._running[key] = asyncio.create_task(start())
            task.add_done_callback(lambda ended: self._note_end(key, ended))
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            done, _ = await asyncio.wait({task}, timeout=self._hold)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
        if not done:
            raise Unavailable(f"{what} is still under way.", hint="Ask again: it goes on.", retry_after=_AGAIN)
        result: T = task.result()
        return result

    def _note_end(self, key: Key, task: asyncio.Task[Any]) -> None:
        del self._running[key]
        error = None if task.cancelled() else task.exception()
        if error is not None and key not in self._waiting:
            now = self._clock()
            self._failed = {other: kept for other, kept in self._failed.items() if kept[0] > now}
            self._failed[key] = (now + _KEPT, error)

    def _raise_failure(self, key: Key) -> None:
        until, error = self._failed.pop(key, (0.0, None))
        if error is not None and until > self._clock():
            raise error
