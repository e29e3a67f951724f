"""Deletion of many small objects at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from score.storage.base import ObjectStore

_TOGETHER, _LITTLE = 250, 10
"""Keys for one deletion, where somebody waits for it, and where nobody does."""
_REST = 3
"""Times as long as a gentle deletion took, in which nothing is asked of the store."""
_AT_ONCE = 8
"""Deletions under way while the listing goes on."""


async def sweep(store: ObjectStore, prefix: str, *, gently: bool = False) -> None:
    """Delete every object whose key starts with ``prefix``, while the listing goes on: memory is for a few pages,
    however many there are. ``gently``: little at a time and most of the time nothing, since nobody waits for it, but
    others for the store. Raises what the store does; what is left may be swept again."""
    together, at_once = (_LITTLE, 1) if gently else (_TOGETHER, _AT_ONCE)
    running: set[asyncio.Task[None]] = set()
    keys: list[str] = []
    try:
        async for entry in store.scan(prefix):
            keys.append(entry.key)
            if len(keys) == together:
                running.add(asyncio.create_task(_delete(store, keys, gently)))
                keys = []
            if len(running) == at_once:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()
        if keys:
            await _delete(store, keys, gently)
        await asyncio.gather(*running)
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _delete(store: ObjectStore, keys: Sequence[str], gently: bool) -> None:
    begun = time.monotonic()
    await store.delete(*keys)
    if gently:
        await asyncio.sleep(_REST * (time.monotonic() - begun))
