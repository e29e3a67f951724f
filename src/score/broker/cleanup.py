"""Removal of uploads that nobody will finish: their parts cost money, their state confuses. Protocol, section 4.

An upload is stale when it began longer ago than ``life``: its URLs have expired. It is known by its state, by the
multipart upload in the store, or by either alone, where a crash took the other. MinIO lists only those multipart
uploads that began since its last start, so the state is what decides. Nothing else than ``<data>/<uuid>`` and the
state of such uploads is ever touched. Every step may be repeated, also by several servers at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from score.broker import audit
from score.broker.begun import all_uploads
from score.broker.blocks import BlockUploads
from score.broker.state import Layout
from score.broker.uploads import Uploads
from score.config.cron import Schedule
from score.errors import ScoreError
from score.protocol.ids import is_uuid
from score.storage.base import ObjectStat, ObjectStore, UploadId

log = logging.getLogger(__name__)

_LONGEST_SLEEP = 600.0
"""Seconds: the clock on the wall may be set meanwhile."""
_SUMMER_TIME = timedelta(hours=2)
"""By how much a clock may go back without having been wrong before."""


@dataclass(frozen=True, slots=True)
class Stale:
    """An upload to remove. ``started`` is when it began, or its last sign of life where only records are left."""

    object_id: str
    upload_id: UploadId
    started: datetime

    def __str__(self) -> str:
        return f"the upload {self.upload_id} of {self.object_id}, begun {self.started:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a cleanup did: how many uploads it removed, and how many it could not remove."""

    removed: int
    failed: int


def is_stale(started: datetime, now: datetime, life: timedelta) -> bool:
    """Whether an upload that began then is beyond its life. No life at all: every upload is."""
    return not life or now - started > life


class Cleanup:
    """The cleanup of one pair of buckets; where that is a pool, ``older`` is that of the buckets from before it.
    ``clock`` gives the time in UTC."""

    def __init__(
        self,
        objects: ObjectStore,
        state: ObjectStore,
        layout: Layout,
        uploads: Uploads | BlockUploads,
        life: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        older: Cleanup | None = None,
    ) -> None:
        self._objects = objects
        self._state = state
        self._layout = layout
        self._uploads = uploads
        self._life = life
        self._clock = clock
        self._older = older

    async def find(self) -> AsyncIterator[Stale]:
        """The stale uploads, one after the other. Holds one of them at a time, but for the store's own pages. Raises
        what the store does."""
        async for stale in self._find():
            yield stale
        if self._older is not None:
            async for stale in self._older.find():
                yield stale

    async def _find(self) -> AsyncIterator[Stale]:
        """Those of this pair of buckets: first those with state, then those without."""
        now = self._clock()
        async for place in all_uploads(self._state, self._layout):
            started = await self._sign_of_life(*place)
            if started is not None and is_stale(started, now, self._life):
                yield Stale(*place, started)
        async for upload in self._objects.open_uploads():
            object_id = upload.key.removeprefix(self._layout.data_prefix)
            if self._layout.object(object_id) != upload.key or not is_uuid(object_id):
                continue  # of another program
            if is_stale(upload.started, now, self._life) and not await self._has_state(object_id, upload.upload_id):
                yield Stale(object_id, upload.upload_id, upload.started)

    async def run(self) -> Swept:
        """Remove what is stale. One that cannot be removed is logged, and the others are. Raises what the store does
        when it is asked what there is."""
        removed = failed = 0
        async for stale in self._find():
            try:
                await self._uploads.drop(stale.object_id, stale.upload_id, gently=True)
            except ScoreError as error:
                failed += 1
                log.warning("Cleanup: %s could not be removed: %s", stale, error)
            else:
                removed += 1
                log.info("Cleanup: removed %s", stale)
                audit.record("cancellation", "done", object=stale.object_id, by="cleanup")
        if self._older is None:
            return Swept(removed, failed)
        more = await self._older.run()
        return Swept(removed + more.removed, failed + more.failed)

    async def _sign_of_life(self, object_id: str, upload: UploadId) -> datetime | None:
        """When the upload began; without its ``.meta``, when the youngest of its records was written. None where its
        state has gone meanwhile."""
        meta = await self._state.stat(self._layout.upload_meta(object_id, upload))
        if meta is not None:
            return meta.last_modified
        youngest: datetime | None = None
        async for entry in self._state.scan(self._layout.folder(object_id, upload)):
            if isinstance(entry, ObjectStat) and (youngest is None or entry.last_modified > youngest):
                youngest = entry.last_modified
        return youngest

    async def _has_state(self, object_id: str, upload: UploadId) -> bool:
        async for _ in self._state.scan(self._layout.folder(object_id, upload)):
            return True
        return False


async def keep_clean(
    cleanup: Cleanup,
    schedule: Schedule,
    *,
    clock: Callable[[], datetime] = datetime.now,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    told: Callable[[Swept | None], None] = lambda swept: None,
) -> None:
    """Clean up whenever the schedule says, until cancelled. ``clock`` gives the time on the wall, without zone.

    A cleanup that fails is logged; the next one is tried at its time, also when the clock was a year ahead at the
    last one. ``told`` hears of each, None where it failed.
    """
    since = clock()
    due = schedule.after(since)
    while True:
        while (wait := (due - (now := clock())).total_seconds()) > 0:
            if now < since - _SUMMER_TIME:
                since, due = now, schedule.after(now)
                continue
            await sleep(min(wait, _LONGEST_SLEEP))
        try:
            swept = await cleanup.run()
            told(swept)
            log.info("Cleanup: %d stale uploads removed, %d could not be.", swept.removed, swept.failed)
        except ScoreError as error:
            told(None)
            log.error("Cleanup failed: %s", error)
        since = max(due, clock())
        due = schedule.after(since)
