"""All objects of the store. Protocol, section 2."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from score.broker.state import Layout
from score.protocol.ids import is_uuid
from score.protocol.wire import Listed, to_json
from score.storage.base import ObjectStat, ObjectStore

_KEPT = 30.0
"""Seconds for which a listing is given out again: a million objects cost a thousand calls."""


class Listing:
    """Lists one bucket; callers who come at the same time share one walk."""

    def __init__(self, objects: ObjectStore, layout: Layout, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects = objects
        self._layout = layout
        self._clock = clock
        self._walk: asyncio.Task[bytes] | None = None
        self._made = (-1.0, b"")
        self._renewals = 0

    async def document(self) -> bytes:
        """JSON list of every object whose key's last segment is a UUID."""
        until, document = self._made
        if self._clock() < until:
            return document
        if self._walk is None:
            self._walk = asyncio.create_task(self._make())
            self._walk.add_done_callback(lambda _: setattr(self, "_walk", None))
        return await asyncio.shield(self._walk)

    def renew(self) -> None:
        """Forget the listing: an object has come."""
        self._made = (-1.0, b"")
        self._renewals += 1

    async def _make(self) -> bytes:
        renewals = self._renewals
        listed = [
            Listed(id=name, last_modified=int(entry.last_modified.timestamp() * 1000), size=entry.size)
            async for entry in self._objects.scan(self._layout.data_prefix)
            if isinstance(entry, ObjectStat) and is_uuid(name := entry.key.rpartition("/")[2])
        ]
        document = to_json(listed)
        if renewals == self._renewals:
            self._made = (self._clock() + _KEPT, document)
        return document
