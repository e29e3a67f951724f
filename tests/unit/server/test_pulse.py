"""The status page's look at health."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import pytest

from score.server.page import pulse


def test_a_look_counts_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    health: Any = AsyncMock()
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    async def looks(page: pulse.Pulse) -> int:
        await asyncio.gather(page.report(), page.report())
        return int(health.report.await_count)

    page = pulse.Pulse(health)
    assert [asyncio.run(looks(page)), asyncio.run(looks(page))] == [1, 1]
    now += pulse.KEPT
    assert asyncio.run(looks(page)) == 2
