"""Bucket pools: many buckets that look like one. Protocol, section 4.

Objects and their state are spread over buckets ``<name>.<number>`` by the first hex digits of the object id. Whatever
is of no object, as the sentinel, lies in the bucket without a number; so do the objects from before there was a pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from heapq import heappop, heappush
from typing import NamedTuple

from score.broker.state import Layout
from score.protocol.parts import Span
from score.storage.base import (
    Limits,
    ObjectStat,
    ObjectStore,
    OpenUpload,
    PlannedPart,
    Prefix,
    Probe,
    StoredPart,
    UploadId,
)


class Pair(NamedTuple):
    """The bucket of objects and the bucket of their state, which may be the same one."""

    objects: ObjectStore
    state: ObjectStore


def number_of(object_id: str, pool: int, digits: int) -> int:
    """The number of the bucket that holds an object: its first hex ``digits``, modulo the size of the pool."""
    return int(object_id[:digits], 16) % pool


def names_of(bucket: str, pool: int) -> list[str]:
    """The names of the buckets of a pool, by number; none where there is no pool."""
    return [f"{bucket}.{number}" for number in range(pool)]


def buckets_of(store: ObjectStore) -> list[ObjectStore]:
    """The single buckets of a store."""
    return store.buckets if isinstance(store, PooledStore) else [store]


def with_others(problem: str, others: Sequence[str]) -> str:
    """What is wrong with one bucket of a pool, and the names of the others with which something is."""
    return f"{problem} Not well either: {', '.join(others)}." if others else problem


class PooledStore:
    """An :class:`~score.storage.base.ObjectStore` out of a pool and the bucket without a number, ``base``.

    Every key has one bucket; nothing is looked for in another one.
    """

    def __init__(self, base: ObjectStore, pool: Sequence[ObjectStore], digits: int, layout: Layout) -> None:
        self._base = base
        self._pool = list(pool)
        self._digits = digits
        self._layout = layout

    @property
    def limits(self) -> Limits:
        return self._base.limits

    @property
    def name(self) -> str:
        return self._base.name

    def _of(self, key: str) -> ObjectStore:
        """The bucket of a key."""
        object_id = self._layout.object_of(key)
        if object_id is None:
            return self._base
        return self._pool[number_of(object_id, len(self._pool), self._digits)]

    @property
    def buckets(self) -> list[ObjectStore]:
        """Those of the pool, and the one without a number."""
        return [*self._pool, self._base]

    async def stat(self, key: str) -> ObjectStat | None:
        return await self._of(key).stat(key)

    async def get(self, key: str) -> bytes:
        return await self._of(key).get(key)

    async def put(self, key: str, data: bytes, over: str | None = None) -> None:
        await self._of(key).put(key, data, over)

    async def delete(self, *keys: str) -> None:
        together: dict[int, tuple[ObjectStore, list[str]]] = {}
        for key in keys:
            store = self._of(key)
            together.setdefault(id(store), (store, []))[1].append(key)
        await asyncio.gather(*[store.delete(*those) for store, those in together.values()])

    async def clear(self, folder: str) -> bool:
        return await self._of(folder).clear(folder)

    async def read(self, key: str, span: Span) -> bytes:
        return await self._of(key).read(key, span)

    async def probe(self) -> Probe:
        """All is well where it is so with every bucket; else what is wrong with the first, and which others are not
        well."""
        probes = await asyncio.gather(*[store.probe() for store in self.buckets])
        wrong = [(store.name, probe) for store, probe in zip(self.buckets, probes, strict=True) if not probe.ok]
        if not wrong:
            return probes[-1]
        (_, first), *others = wrong
        return replace(first, problem=with_others(first.problem, [name for name, _ in others]))

    async def scan(self, prefix: str, *, delimiter: str = "") -> AsyncIterator[ObjectStat | Prefix]:
        """In the order of keys over all buckets; of one key in several the entry of the pool."""
        if self._layout.object_of(prefix) is not None:
            async for entry in self._of(prefix).scan(prefix, delimiter=delimiter):
                yield entry
            return
        walks = [store.scan(prefix, delimiter=delimiter) for store in self.buckets]
        heads: list[tuple[str, int, ObjectStat | Prefix]] = []
        for number, walk in enumerate(walks):
            async for entry in walk:
                heappush(heads, (entry.key, number, entry))
                break
        last = None
        while heads:
            key, number, entry = heappop(heads)
            if key != last:
                yield entry
            last = key
            async for following in walks[number]:
                heappush(heads, (following.key, number, following))
                break

    def sign_gets(self, key: str, spans: Sequence[Span | None], ttl: timedelta) -> list[str]:
        return self._of(key).sign_gets(key, spans, ttl)

    def sign_parts(self, key: str, upload: UploadId, parts: Sequence[PlannedPart], ttl: timedelta) -> list[str]:
        return self._of(key).sign_parts(key, upload, parts, ttl)

    async def begin(self, key: str) -> UploadId:
        return await self._of(key).begin(key)

    async def find_parts(self, key: str, upload: UploadId, numbers: Collection[int]) -> Mapping[int, StoredPart]:
        return await self._of(key).find_parts(key, upload, numbers)

    def stored_parts(self, key: str, upload: UploadId, after: int = 0) -> AsyncIterator[StoredPart]:
        return self._of(key).stored_parts(key, upload, after)

    async def etags_are_md5(self, key: str) -> bool:
        return await self._of(key).etags_are_md5(key)

    async def complete(
        self, key: str, upload: UploadId, parts: Sequence[StoredPart], replace: bool = True
    ) -> ObjectStat:
        return await self._of(key).complete(key, upload, parts, replace)

    async def abort(self, key: str, upload: UploadId) -> None:
        await self._of(key).abort(key, upload)

    async def open_uploads(self) -> AsyncIterator[OpenUpload]:
        """Those of the pool; in the bucket without a number those of keys that belong there, too."""
        for store in self.buckets:
            async for upload in store.open_uploads():
                if self._of(upload.key) is store:
                    yield upload

    async def close(self) -> None:
        for store in self.buckets:
            await store.close()
