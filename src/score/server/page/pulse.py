"""How the components are, for a page that anybody may load as often as they like."""

from __future__ import annotations

import asyncio
import time

from score.broker.health import Health, Report
from score.broker.together import Together

KEPT = 2.0
"""Seconds for which an answer is given again."""
PATIENCE = 2.0
"""Seconds for which a page waits for it."""


class Pulse:
    """The latest report on health. Whoever asks, and how often: the components are looked at by one at a time, and
    not more often than every :data:`KEPT` seconds."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._together: Together[str, Report] = Together()
        self._latest: tuple[float, Report] | None = None

    async def report(self) -> Report | None:
        """The report; None where it does not come in time. It comes to those who ask later then."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._together.ask("", self._look)
        except TimeoutError:
            return None

    async def _look(self) -> Report:
        if self._latest is None or time.monotonic() >= self._latest[0]:
            report = await self._health.report()
            self._latest = time.monotonic() + KEPT, report
        return self._latest[1]
