"""Bodies of requests, in pieces, from senders who may fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request

SILENCE = 60.0
"""Seconds without a byte after which a sender counts as gone."""


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """The body of a request. Raises TimeoutError where nothing comes for :data:`SILENCE`, ClientDisconnect where the
    sender hangs up."""
    stream = request.stream()
    while (piece := await asyncio.wait_for(anext(stream, None), SILENCE)) is not None:
        yield piece
