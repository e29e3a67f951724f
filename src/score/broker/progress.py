"""Uploads in progress, and since when: for people who look after a site. Bounded, however many there are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from score.broker.access import Access
from score.broker.begun import all_uploads
from score.broker.state import Layout
from score.broker.together import Together
from score.errors import ScoreError
from score.storage.base import ObjectStore, UploadId

MOST = 100
"""Uploads that are looked at."""
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class InProgress:
    """An upload in progress: ``age`` in seconds; name and study are empty where the registry does not know it."""

    object_id: str
    age: float
    name: str = ""
    study: str = ""


@dataclass(frozen=True, slots=True)
class Overview:
    """Uploads in progress, the oldest first; ``more``: there are others, of which nothing is said."""

    uploads: list[InProgress]
    more: bool


class UploadsInProgress:
    """Looks for them in the state bucket, where every upload in progress has its ``.meta``."""

    def __init__(self, access: Access, state: ObjectStore, layout: Layout) -> None:
        self._access = access
        self._state = state
        self._layout = layout
        self._together: Together[str, Overview] = Together()

    async def overview(self, token: str | None) -> Overview:
        """For who may upload everywhere. Raises Unauthenticated, Forbidden, and what the store does."""
        await self._access.upload_everywhere(token)
        return await self._together.ask("", self._look)

    async def _look(self) -> Overview:
        places: list[tuple[str, UploadId]] = []
        more = False
        async for place in all_uploads(self._state, self._layout):
            if more := len(places) == MOST:
                break
            places.append(place)
        turn = asyncio.Semaphore(_AT_ONCE)

        async def look(object_id: str, upload: UploadId) -> InProgress | None:
            async with turn:
                meta = await self._state.stat(self._layout.upload_meta(object_id, upload))
                if meta is None:  # it ended meanwhile
                    return None
                age = (datetime.now(UTC) - meta.last_modified).total_seconds()
                try:
                    entity = await self._access.entity(object_id)
                except ScoreError:
                    return InProgress(object_id, age)
                return InProgress(object_id, age, entity.file_name, entity.project_code)

        looked = await asyncio.gather(*[look(*place) for place in places])
        return Overview(sorted(filter(None, looked), key=lambda one: -one.age), more)
