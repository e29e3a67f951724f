"""How many uploads are in progress, without asking the store each time that somebody wants to know."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from score.broker.begun import all_uploads
from score.broker.state import Layout
from score.errors import ScoreError
from score.storage.base import ObjectStore

log = logging.getLogger(__name__)


class Census:
    """Counts the uploads with state in ``state``, of whichever server: at most once in ``every`` seconds, and only
    where somebody asks. ``clock`` is monotonic."""

    def __init__(
        self, state: ObjectStore, layout: Layout, every: float = 300.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._state = state
        self._layout = layout
        self._every = every
        self._clock = clock
        self._due = clock()
        self._counting: asyncio.Task[None] | None = None
        self._known: int | None = None

    def latest(self) -> int | None:
        """The latest number, None where there is none; asking has it counted anew behind the scenes, when it is
        time. Within the event loop of the store."""
        if self._clock() >= self._due and self._counting is None:
            self._counting = asyncio.create_task(self._count())
        return self._known

    async def settle(self) -> None:
        """Wait for the count that is under way, if one is."""
        if self._counting is not None:
            await asyncio.wait([self._counting])

    async def close(self) -> None:
        """Stop counting."""
        if self._counting is not None:
            self._counting.cancel()
            await self.settle()

    async def _count(self) -> None:
        try:
            self._known = sum([1 async for _ in all_uploads(self._state, self._layout)])
        except ScoreError as error:
            self._known = None
            log.debug("The uploads in progress cannot be counted: %s", error)
        finally:
            self._due = self._clock() + self._every
            self._counting = None
