"""Calls to store, registry and authorization, watched: around each of them stands whatever counts or traces it.

The layers below know nothing of it: these are a store, a registry and an authorizer like those that they wrap. Of a
listing the way to its first entry is watched. Signing is not: it calls nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Literal, TypeVar

from score.auth.base import Authorizer, Identity
from score.metadata.base import Analysis, AnalysisState, RegisteredFile, Registry
from score.protocol.parts import Span
from score.protocol.wire import Entity
from score.storage.base import (
    Blocks,
    BlockStore,
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

T = TypeVar("T")

Backend = Literal["store", "registry", "authorization"]
Watch = Callable[[Backend, str], AbstractContextManager[None]]
"""What is around a call to a backend; the text is the name of the operation."""


def both(one: Watch | None, other: Watch | None) -> Watch | None:
    """Both around each call, ``one`` outside; None where there is none."""
    if one is None or other is None:
        return one or other

    @contextmanager
    def watch(backend: Backend, operation: str) -> Iterator[None]:
        with one(backend, operation), other(backend, operation):
            yield

    return watch


def watched_store(store: ObjectStore, watch: Watch | None) -> ObjectStore:
    """The store itself where nobody watches."""
    return WatchedStore(store, watch) if watch else store


def watched_registry(registry: Registry, watch: Watch | None) -> Registry:
    """The registry itself where nobody watches."""
    return WatchedRegistry(registry, watch) if watch else registry


class WatchedStore:
    """An :class:`~score.storage.base.ObjectStore` that hands on to another one."""

    def __init__(self, store: ObjectStore, watch: Watch) -> None:
        self._store = store
        self._watch = watch

    @property
    def limits(self) -> Limits:
        return self._store.limits

    @property
    def name(self) -> str:
        return self._store.name

    async def stat(self, key: str) -> ObjectStat | None:
        with self._watch("store", "stat"):
            return await self._store.stat(key)

    async def get(self, key: str) -> bytes:
        with self._watch("store", "get"):
            return await self._store.get(key)

    async def put(self, key: str, data: bytes, over: str | None = None) -> None:
        with self._watch("store", "put"):
            await self._store.put(key, data, over)

    async def delete(self, *keys: str) -> None:
        with self._watch("store", "delete"):
            await self._store.delete(*keys)

    async def clear(self, folder: str) -> bool:
        with self._watch("store", "clear"):
            return await self._store.clear(folder)

    async def read(self, key: str, span: Span) -> bytes:
        with self._watch("store", "read"):
            return await self._store.read(key, span)

    async def probe(self) -> Probe:
        with self._watch("store", "probe"):
            return await self._store.probe()

    def scan(self, prefix: str, *, delimiter: str = "") -> AsyncIterator[ObjectStat | Prefix]:
        return self._listed("scan", self._store.scan(prefix, delimiter=delimiter))

    def sign_gets(self, key: str, spans: Sequence[Span | None], ttl: timedelta) -> list[str]:
        return self._store.sign_gets(key, spans, ttl)

    def sign_parts(self, key: str, upload: UploadId, parts: Sequence[PlannedPart], ttl: timedelta) -> list[str]:
        return self._store.sign_parts(key, upload, parts, ttl)

    async def begin(self, key: str) -> UploadId:
        with self._watch("store", "begin"):
            return await self._store.begin(key)

    async def find_parts(self, key: str, upload: UploadId, numbers: Collection[int]) -> Mapping[int, StoredPart]:
        with self._watch("store", "find_parts"):
            return await self._store.find_parts(key, upload, numbers)

    def stored_parts(self, key: str, upload: UploadId, after: int = 0) -> AsyncIterator[StoredPart]:
        return self._listed("stored_parts", self._store.stored_parts(key, upload, after))

    async def etags_are_md5(self, key: str) -> bool:
        with self._watch("store", "etags_are_md5"):
            return await self._store.etags_are_md5(key)

    async def complete(
        self, key: str, upload: UploadId, parts: Sequence[StoredPart], replace: bool = True
    ) -> ObjectStat:
        with self._watch("store", "complete"):
            return await self._store.complete(key, upload, parts, replace)

    async def abort(self, key: str, upload: UploadId) -> None:
        with self._watch("store", "abort"):
            await self._store.abort(key, upload)

    def open_uploads(self) -> AsyncIterator[OpenUpload]:
        return self._listed("open_uploads", self._store.open_uploads())

    async def close(self) -> None:
        await self._store.close()

    async def _listed(self, operation: str, entries: AsyncIterator[T]) -> AsyncIterator[T]:
        with self._watch("store", operation):
            first = await anext(entries, None)
        if first is not None:
            yield first
            async for entry in entries:
                yield entry


class WatchedBlockStore(WatchedStore):
    """The same for a :class:`~score.storage.base.BlockStore`."""

    def __init__(self, store: BlockStore, watch: Watch) -> None:
        super().__init__(store, watch)
        self._blocks = store

    async def blocks(self, key: str) -> Blocks:
        with self._watch("store", "blocks"):
            return await self._blocks.blocks(key)

    async def seal(self, stat: ObjectStat, md5: str) -> ObjectStat:
        with self._watch("store", "seal"):
            return await self._blocks.seal(stat, md5)


class WatchedRegistry:
    """A :class:`~score.metadata.base.Registry` that hands on to another one."""

    def __init__(self, registry: Registry, watch: Watch) -> None:
        self._registry = registry
        self._watch = watch

    async def entity(self, object_id: str) -> Entity:
        with self._watch("registry", "entity"):
            return await self._registry.entity(object_id)

    async def bundle(self, analysis: str) -> list[Entity]:
        with self._watch("registry", "bundle"):
            return await self._registry.bundle(analysis)

    async def analysis_state(self, study: str, analysis: str) -> AnalysisState:
        with self._watch("registry", "analysis_state"):
            return await self._registry.analysis_state(study, analysis)

    async def studies(self) -> list[str]:
        with self._watch("registry", "studies"):
            return await self._registry.studies()

    async def list_analyses(
        self, study: str, states: Sequence[AnalysisState], *, offset: int, limit: int
    ) -> tuple[list[Analysis], int]:
        with self._watch("registry", "list_analyses"):
            return await self._registry.list_analyses(study, states, offset=offset, limit=limit)

    async def list_files(self, study: str, analysis: str) -> list[RegisteredFile]:
        with self._watch("registry", "list_files"):
            return await self._registry.list_files(study, analysis)

    async def probe(self) -> str:
        with self._watch("registry", "probe"):
            return await self._registry.probe()

    async def close(self) -> None:
        await self._registry.close()


class WatchedAuthorizer:
    """An :class:`~score.auth.base.Authorizer` that hands on to another one."""

    def __init__(self, authorizer: Authorizer, watch: Watch) -> None:
        self._authorizer = authorizer
        self._watch = watch

    async def identify(self, token: str) -> Identity:
        with self._watch("authorization", "identify"):
            return await self._authorizer.identify(token)

    async def probe(self) -> str:
        with self._watch("authorization", "probe"):
            return await self._authorizer.probe()

    async def close(self) -> None:
        await self._authorizer.close()
