"""The local store beyond the contract of all stores."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from score.protocol.parts import Span
from score.storage.base import PlannedPart, StoredPart, UploadId
from score.storage.local import LocalStore
from score.storage.local.uploads import PartWriter

T = TypeVar("T")
KEY = "data/00000000-0000-4000-8000-000000000001"
HOUR = timedelta(hours=1)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@contextmanager
def opened(root: Path, bucket: str = "object", **options: Any) -> Iterator[LocalStore]:
    store = LocalStore(root, bucket, base=lambda: "http://localhost:8087", **options)
    try:
        yield store
    finally:
        run(store.close())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> Iterator[LocalStore]:
    with opened(root) as store:
        yield store


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, LocalStore]]:
    """A store for many examples, and the folder above its root."""
    outside = tmp_path_factory.mktemp("shared")
    with opened(outside / "root") as store:
        yield outside, store


async def collect(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


def writer(store: LocalStore, upload: UploadId, number: int, span: Span, key: str = KEY) -> PartWriter:
    """A writer of a part, by way of its signed URL."""
    (url,) = store.sign_parts(key, upload, [PlannedPart(number, span)], HOUR)
    return store.open_part(store.check_url("PUT", key, url.partition("?")[2]))


def send(store: LocalStore, upload: UploadId, number: int, offset: int, data: bytes, key: str = KEY) -> StoredPart:
    part = writer(store, upload, number, Span(offset, len(data)), key)
    try:
        part.write([data])
        return part.finish()
    finally:
        store.close_part(part)


def send_all(store: LocalStore, upload: UploadId, *bodies: bytes) -> list[StoredPart]:
    offsets = [sum(map(len, bodies[:number])) for number in range(len(bodies))]
    return [
        send(store, upload, number, offset, body)
        for number, (offset, body) in enumerate(zip(offsets, bodies, strict=True), 1)
    ]
