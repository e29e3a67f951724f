"""Removal of an object for good: nothing of it may stay anywhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from score.broker.access import Access
from score.broker.buckets import Pair
from score.broker.removal import Place, Removal
from score.broker.state import Layout
from score.broker.uploads import UploadRules, Uploads
from score.errors import NotFound
from score.metadata.embedded import EmbeddedRegistry
from score.storage.local import LocalStore

OBJECT = "5c0e0000-0000-4000-8000-000000000001"
OTHER = "5c0e0000-0000-4000-8000-000000000002"


def test_an_object_goes_from_the_pool_and_from_the_buckets_before_it(tmp_path: Path) -> None:
    async def main() -> None:
        names = ("object.1", "state.1", "object", "state")
        stores = {name: LocalStore(tmp_path, name, base=lambda: "http://here") for name in names}
        layout = Layout()
        older = Pair(stores["object"], stores["state"])
        registry = EmbeddedRegistry(tmp_path)
        access = Access(registry)
        pool = Pair(stores["object.1"], stores["state.1"])
        places = [Place(*pair, Uploads(*pair, access, layout, UploadRules())) for pair in (pool, older)]
        removal = Removal(layout, *places)
        for name, store in stores.items():
            for one in (OBJECT, OTHER):
                await store.put(layout.object(one) if name.startswith("object") else layout.meta(one), b"donor")
        kept = await removal.remove(OBJECT, "a test")
        assert (kept.size, kept.specification) == (5, True)
        for store in stores.values():
            assert [entry.key for entry in [one async for one in store.scan("data/")] if OBJECT in entry.key] == []
            assert [entry.key for entry in [one async for one in store.scan("data/")] if OTHER in entry.key] != []
        with pytest.raises(NotFound, match="Nothing is stored"):
            await removal.remove(OBJECT, "a test")
        for part in (registry, *stores.values()):
            await part.close()

    asyncio.run(main())
