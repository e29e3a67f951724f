"""State documents that may be absent."""

from __future__ import annotations

from score.errors import NotFound
from score.storage.base import ObjectStore


async def fetch(store: ObjectStore, key: str) -> bytes | None:
    """A small object, None where there is none. NotFound where the whole bucket is missing: no state is another thing
    than no bucket, and must not look like it."""
    try:
        return await store.get(key)
    except NotFound:
        if await store.stat(key) is None:
            return None
        return await store.get(key)  # written between the two calls
