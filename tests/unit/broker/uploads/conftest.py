"""Sites for uploads, on MinIO and on a disk, and stores that count their calls and die."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest

from score.broker.access import Access
from score.broker.uploads import UploadRules, Uploads
from score.errors import ScoreError
from score.metadata.base import AnalysisState
from score.storage.base import ObjectStore

from ..conftest import LAYOUT, MINIO, STUDY, send
from ..conftest import Site as Ground

MIB = 1024 * 1024


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Crash(Exception):
    """The server dies."""


@dataclass
class Watched:
    """A store that counts its calls and dies at a chosen change, just before or just after it is made."""

    store: ObjectStore
    calls: list[str] = field(default_factory=list)
    changes: int = 0
    die_at: int = 0
    after: bool = False
    before_change: Callable[[], Awaitable[None]] | None = None
    """What happens, once, just before the next change."""

    CHANGES = ("put", "delete", "clear", "begin", "complete", "abort")

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self.store, name)
        if name in self.CHANGES:
            return lambda *args: self._change(name, inner, *args)
        if callable(inner):
            self.calls.append(name)
        return inner

    async def _change(self, name: str, inner: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        if (deed := self.before_change) is not None:
            self.before_change = None
            await deed()
        self.calls.append(name)
        self.changes += 1
        number = self.changes
        if self.die_at and (number > self.die_at or (number == self.die_at and not self.after)):
            raise Crash  # and whatever else was to follow
        result = await inner(*args)
        if number == self.die_at:
            raise Crash
        return result


@dataclass
class Site(Ground):
    """Two buckets and a registry; ``server()`` is a fresh server on them, with nothing in memory."""

    def server(self, part_size: int = 5 * MIB, *, die_at: int = 0, after: bool = False) -> Uploads:
        self.watched = Watched(self.state, die_at=die_at, after=after)
        objects = self.watched
        if self.objects is not self.state:
            objects = Watched(self.objects)
        self.watched_objects = objects
        rules = UploadRules(part_size, timedelta(days=1))
        access = Access(self.registry)
        return Uploads(cast("ObjectStore", objects), cast("ObjectStore", self.watched), access, LAYOUT, rules)

    @contextmanager
    def dying(self, at: int, *, after: bool) -> Iterator[Uploads]:
        """A fresh server that dies at this change, where the store takes so many for what is done with it."""
        uploads, watched = self.server(die_at=at, after=after), self.watched
        try:
            yield uploads
        except Crash:
            return
        assert watched.changes < at

    async def publish(self) -> None:
        await self.registry.change_state(STUDY, self.analysis, AnalysisState.PUBLISHED)

    async def send(self, part: dict[str, Any], data: bytes) -> None:
        """PUT the bytes of a part to its URL."""
        await send(self.objects, part["url"], data)

    async def put_part(self, uploads: Uploads, spec: dict[str, Any], number: int, data: bytes) -> None:
        """Send a part and have it recorded."""
        await self.send(spec["parts"][number - 1], data)
        await uploads.finish_part(spec["objectId"], spec["uploadId"], number, md5(data), md5(data))

    async def keys(self, prefix: str = "upload/") -> list[str]:
        return [entry.key async for entry in self.state.scan(prefix)]

    async def final(self, object_id: str) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(await self.state.get(LAYOUT.meta(object_id))))


Test = Callable[[Site], Awaitable[None]]


@pytest.fixture(params=[MINIO, "local"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """The kind of store."""
    return str(request.param)


@pytest.fixture
def make_site() -> type[Site]:
    return Site


async def start(uploads: Uploads, object_id: str, size: int, **more: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(await uploads.start(object_id, size, **more)))


def refused(kind: type[ScoreError], match: str | None = None) -> Any:
    return pytest.raises(kind, match=match)
