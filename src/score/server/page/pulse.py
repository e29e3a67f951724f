"""How the components are, for a page that anybody may load as often as they like."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from score.broker.health import Health, Report
from score.broker.together import Together

KEPT = 2.0
"""Seconds for which an answer is given again."""
PATIENCE = 2.0
"""Seconds for which a page waits for it."""


class Pulse:
    """The latest report on health. Whoever asks, and how often: the components are looked at by one at a time, and
    not more often than every :data:`KEPT` seconds."""

    def __init__(self, health: Health, clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._clock = clock
        self._together: Together[str, Report] = Together()
        self._latest: tuple[float, Report] | None = None

    async def report(self) -> Report | None:
        """The report; None where it does not come in time. It comes to those who ask later then."""
        latest = self._fresh()
        if latest is not None:
            return latest
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._together.ask("", self._look)
        except TimeoutError:
            return None

    async def _look(self) -> Report:
        report = self._fresh()
        if report is None:  # else another one looked while this one waited for its turn
            report = await self._health.report()
            self._latest = self._clock() + KEPT, report
        return report

    def _fresh(self) -> Report | None:
        return self._latest[1] if self._latest is not None and self._clock() < self._latest[0] else None
