"""Sites for uploads, on MinIO and on a disk, and stores that count their calls and die."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import boto3
import pytest
import urllib3

from score.broker.access import Access
from score.broker.state import Layout
from score.broker.uploads import UploadRules, Uploads
from score.errors import ScoreError
from score.metadata.base import AnalysisState
from score.metadata.embedded import EmbeddedRegistry
from score.storage.base import ObjectStore
from score.storage.local import LocalStore
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import open_stores
from score.testing.minio import Minio

MIB = 1024 * 1024
STUDY = "TEST-CA"
LAYOUT = Layout()


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

    CHANGES = ("put", "delete", "clear", "begin", "complete", "abort")

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self.store, name)
        if name in self.CHANGES:
            return lambda *args: self._change(name, inner, *args)
        if callable(inner):
            self.calls.append(name)
        return inner

    async def _change(self, name: str, inner: Callable[..., Awaitable[Any]], *args: Any) -> Any:
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
class Site:
    """Two buckets and a registry; ``server()`` is a fresh server on them, with nothing in memory."""

    objects: ObjectStore
    state: ObjectStore
    registry: EmbeddedRegistry

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

    async def register(self, size: int = 0) -> str:
        """The object id of a new file of an unpublished analysis."""
        file = {"fileName": "f.bam", "fileSize": size, "fileMd5sum": "0" * 32, "fileAccess": "open"}
        self.analysis = await self.registry.submit(STUDY, {"studyId": STUDY, "files": [file]})
        (found,) = await self.registry.files(STUDY, self.analysis)
        return str(found["objectId"])

    async def publish(self) -> None:
        await self.registry.change_state(STUDY, self.analysis, AnalysisState.PUBLISHED)

    async def send(self, part: dict[str, Any], data: bytes) -> None:
        """PUT the bytes of a part to its URL."""
        if isinstance(self.objects, LocalStore):
            store = self.objects
            grant = store.check_url("PUT", urlsplit(part["url"]).path.split("/", 3)[3], urlsplit(part["url"]).query)
            writer = store.open_part(grant)
            try:
                writer.write([data])
                writer.finish(None)
            finally:
                store.close_part(writer)
        else:
            with urllib3.PoolManager(retries=False) as http:
                answer = http.request("PUT", part["url"], body=data)
                assert answer.status == 200, answer.data

    async def put_part(self, uploads: Uploads, spec: dict[str, Any], number: int, data: bytes) -> None:
        """Send a part and have it recorded."""
        await self.send(spec["parts"][number - 1], data)
        await uploads.finish_part(spec["objectId"], spec["uploadId"], number, md5(data), md5(data))

    async def keys(self, prefix: str = "upload/") -> list[str]:
        return [entry.key async for entry in self.state.scan(prefix)]

    async def final(self, object_id: str) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(await self.state.get(LAYOUT.meta(object_id))))


Test = Callable[[Site], Awaitable[None]]


def client_of(minio: Minio) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=minio.endpoint,
        aws_access_key_id=minio.access_key,
        aws_secret_access_key=minio.secret_key,
        region_name="us-east-1",
    )


def create_buckets(minio: Minio, names: list[str]) -> None:
    client = client_of(minio)
    for name in names:
        client.create_bucket(Bucket=name)


@pytest.fixture(params=[pytest.param("minio", marks=pytest.mark.needs("minio")), "local"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Test], None]:
    """Runs a coroutine function on a site of its own."""

    def opened() -> tuple[ObjectStore, ObjectStore]:
        if request.param == "local":
            first, second = (LocalStore(tmp_path, name, base=lambda: "http://x") for name in ("object", "state"))
            return first, second
        minio = request.getfixturevalue("minio")
        keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
        names = [f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("object", "state")]
        create_buckets(minio, names)
        stores = open_stores(S3Settings(endpoint=minio.endpoint, **keys), names)
        return stores[names[0]], stores[names[1]]

    def go(test: Test) -> None:
        async def main() -> None:
            objects, state = opened()
            registry = EmbeddedRegistry(tmp_path)
            await registry.create_study(STUDY, {})
            try:
                await test(Site(objects, state, registry))
            finally:
                for one in (registry, objects, state):
                    await one.close()

        asyncio.run(main())

    return go


async def start(uploads: Uploads, object_id: str, size: int, **more: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(await uploads.start(object_id, size, **more)))


def refused(kind: type[ScoreError], match: str | None = None) -> Any:
    return pytest.raises(kind, match=match)
