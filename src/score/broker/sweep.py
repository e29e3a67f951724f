"""Deletion of many small objects at once."""

from __future__ import annotations

import asyncio

from score.storage.base import ObjectStore

_TOGETHER, _LITTLE = 250, 50
"""Keys for one deletion, where somebody waits for it, and where nobody does."""
_AT_ONCE = 8
"""Deletions under way while the listing goes on."""


async def sweep(store: ObjectStore, prefix: str, *, gently: bool = False) -> None:
    """Delete every object whose key starts with ``prefix``, while the listing goes on: memory is for a few pages,
    however many there are. ``gently``: little at a time, since nobody waits for it, but others for the store. Raises
    what the store does; what is left may be swept again."""
    together, at_once = (_LITTLE, 1) if gently else (_TOGETHER, _AT_ONCE)
    running: set[asyncio.Task[None]] = set()
    keys: list[str] = []
    try:
        async for entry in store.scan(prefix):
            keys.append(entry.key)
            if len(keys) == together:
                running.add(asyncio.create_task(store.delete(*keys)))
                keys = []
            if len(running) == at_once:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()
        if keys:
            await store.delete(*keys)
        await asyncio.gather(*running)
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
