"""Two buckets and a registry of a test's own, on every kind of store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
import urllib3

from score.broker.state import Layout
from score.metadata.embedded import EmbeddedRegistry
from score.storage.base import ObjectStore
from score.storage.local import LocalStore
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import open_stores
from score.testing.s3_contract import boto
from score.testing.site import S3Service

STUDY = "TEST-CA"
LAYOUT = Layout()
MINIO, CEPH = (pytest.param(name, marks=pytest.mark.needs(name)) for name in ("minio", "ceph"))
"""Values of ``store_kind``, besides ``local``."""

Pair = tuple[ObjectStore, ObjectStore]
Run = Callable[[Callable[[Any], Awaitable[None]]], None]


@dataclass
class Site:
    """Two buckets and a registry."""

    objects: ObjectStore
    state: ObjectStore
    registry: EmbeddedRegistry

    async def register(self, size: int = 0) -> str:
        """The object id of a new file of a new analysis, which is not published."""
        file = {"fileName": "f.bam", "fileSize": size, "fileMd5sum": "0" * 32, "fileAccess": "open"}
        self.analysis = await self.registry.submit(STUDY, {"studyId": STUDY, "files": [file]})
        (found,) = await self.registry.files(STUDY, self.analysis)
        return str(found["objectId"])


S = TypeVar("S", bound=Site)


@asynccontextmanager
async def opened(
    make_site: Callable[[ObjectStore, ObjectStore, EmbeddedRegistry], S], pair: Pair, root: Path
) -> AsyncIterator[S]:
    """A site on these buckets, with a new registry below ``root``; all is closed afterwards."""
    registry = EmbeddedRegistry(root)
    await registry.create_study(STUDY, {})
    try:
        yield make_site(*pair, registry)
    finally:
        for one in (registry, *pair):
            await one.close()


async def send(store: ObjectStore, url: str, data: bytes) -> None:
    """PUT the bytes of a part to its URL."""
    if isinstance(store, LocalStore):
        address = urlsplit(url)
        writer = store.open_part(store.check_url("PUT", address.path.split("/", 3)[3], address.query))
        try:
            writer.write([data])
            writer.finish(None)
        finally:
            store.close_part(writer)
    else:
        with urllib3.PoolManager(retries=False) as http:
            answer = http.request("PUT", url, body=data)
            assert answer.status == 200, answer.data


def settings_of(service: S3Service, **more: str) -> S3Settings:
    """The settings by which a service is used."""
    return S3Settings(service.endpoint, service.access_key, service.secret_key, **more)  # type: ignore[arg-type]


def make_buckets(service: S3Service) -> list[str]:
    """The names of two new buckets."""
    names = [f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("object", "state")]
    with closing(boto(settings_of(service))) as client:
        for name in names:
            client.create_bucket(Bucket=name)
    return names


def open_buckets(settings: S3Settings, names: list[str]) -> Pair:
    stores = open_stores(settings, names)
    return stores[names[0]], stores[names[1]]


def open_folders(root: Path) -> Pair:
    """Two buckets on a disk."""
    objects, state = (LocalStore(root, name, base=lambda: "http://x") for name in ("object", "state"))
    return objects, state


@pytest.fixture(params=[MINIO, CEPH, "local"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """The kind of store."""
    return str(request.param)


def opened_by(kind: str, request: pytest.FixtureRequest, root: Path) -> Callable[[], Pair]:
    """What opens two new buckets, each time the same ones, as one server after another does."""
    if kind == "local":
        return lambda: open_folders(root)
    service: S3Service = request.getfixturevalue(kind)
    names = make_buckets(service)
    return lambda: open_buckets(settings_of(service), names)


@pytest.fixture
def opening(store_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Pair]:
    """Opens two new buckets, each time the same ones."""
    return opened_by(store_kind, request, tmp_path)


@pytest.fixture
def make_site() -> Callable[..., Site]:
    """What makes a site of two buckets and a registry; those who need more of a site have their own."""
    return Site


@pytest.fixture
def run(opening: Callable[[], Pair], make_site: Callable[..., Site], tmp_path: Path) -> Run:
    """Runs a coroutine function on a site of its own."""

    def go(test: Callable[[Any], Awaitable[None]]) -> None:
        async def main() -> None:
            async with opened(make_site, opening(), tmp_path) as site:
                await test(site)

        asyncio.run(main())

    return go
