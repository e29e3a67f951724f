"""What the tests of a store stand on: the ways into a bucket, what a subclass gives, and small tools."""

from __future__ import annotations

import asyncio
import hashlib
import random
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import timedelta
from typing import Any, ClassVar, Protocol, TypeVar

import pytest
import urllib3

from score.protocol.parts import Span
from score.storage.base import ObjectStore, PlannedPart, StoredPart, UploadId

T = TypeVar("T")
MINUTE = timedelta(minutes=1)
NO_UPLOAD = UploadId("0123456789abcdef0123456789abcdef")

ODD_KEYS = [
    "data/with spaces  and trailing ",
    "data/+plus+and%2Fpercent%",
    "data/ünï-cöde/文件/🧬",
    "data/decomposed-u\u0308/composed-\u00fc",
    "data/a?query=1&b=2#fragment;c",
    "data/<xml>&amp;'quoted'\"",
    "data/~tilde*star(brackets)[square]{curly}!$@,:=^`",
    'upload/5c0e0000-0000-4000-8000-000000000001_X.y-z/part-00000001|{"partNumber":1,"md5":"d4","etag":"d4"}',
    "data/" + "long" * 50,
]


class Run(Protocol):
    """Runs a coroutine to its end on the event loop of the test class."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class Aside(Protocol):
    """The same bucket by another way than the code under test: the provider's own library, the files on disk."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        ...

    def get(self, key: str) -> bytes | None:
        """The object's bytes, None where there is none."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        ...

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of all objects whose key starts with ``prefix``."""
        ...


async def collect(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def tamper(url: str) -> str:
    """The URL with another character in the signature, where that is what stands last, else another last one."""
    at = url.rfind("ignature=") + 9
    at = at if at >= 9 else len(url) - 1
    return url[:at] + ("0" if url[at] != "0" else "1") + url[at + 1 :]


def plan(*sizes: int) -> list[PlannedPart]:
    """Consecutive parts of these sizes, numbered from 1."""
    return [PlannedPart(i + 1, Span(sum(sizes[:i]), size)) for i, size in enumerate(sizes)]


class Web:
    """Calls signed URLs as a client does: one try, no redirects, no headers but those given."""

    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(maxsize=16, retries=False, timeout=urllib3.Timeout(connect=5, read=60))

    def get(self, url: str, span: str | None = None) -> urllib3.BaseHTTPResponse:
        headers = {"Range": span} if span else {}
        return self._pool.request("GET", url, headers=headers, redirect=False)

    def put(self, url: str, data: bytes) -> urllib3.BaseHTTPResponse:
        return self._pool.request("PUT", url, body=data, redirect=False)

    def send(self, url: str, data: bytes) -> str:
        """PUT a part; gives its ETag, bare."""
        answer = self.put(url, data)
        assert answer.status == 200, (answer.status, answer.data[:300])
        return answer.headers["ETag"].strip('"')

    def close(self) -> None:
        self._pool.clear()


class StoreGround:
    """What a subclass gives, and what tests get.

    ``many`` is how many keys, parts and uploads the paging tests make: more than a page of 1,000; ``clears`` whether
    the store deletes a folder by one call; ``keeps`` whether it can be told not to replace an object, so that one
    which comes at the same moment stays too.
    """

    many: ClassVar[int] = 1003
    clears: ClassVar[bool] = False
    keeps: ClassVar[bool] = True

    # What a subclass gives, and what it gets.

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls) -> Iterator[ObjectStore]:
        raise NotImplementedError("a subclass gives the store")

    @pytest.fixture(scope="class")
    @classmethod
    def late_store(cls) -> Iterator[ObjectStore]:
        raise NotImplementedError("a subclass gives the store with a clock that is ten minutes slow")

    @pytest.fixture(scope="class")
    @classmethod
    def aside(cls) -> Iterator[Aside]:
        raise NotImplementedError("a subclass gives the way past the store")

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls) -> Iterator[Run]:
        with asyncio.Runner() as runner:
            yield runner.run

    @pytest.fixture(scope="class")
    @classmethod
    def web(cls) -> Iterator[Web]:
        web = Web()
        yield web
        web.close()

    @pytest.fixture
    def key(self) -> str:
        """A key that no other test uses."""
        return f"data/{uuid.uuid4()}"

    def upload(
        self, run: Run, store: ObjectStore, web: Web, key: str, *bodies: bytes
    ) -> tuple[UploadId, list[StoredPart]]:
        """Begin an upload and send these parts."""
        upload = run(store.begin(key))
        parts = plan(*map(len, bodies))
        urls = store.sign_parts(key, upload, parts, MINUTE)
        stored = [
            StoredPart(part.number, len(body), web.send(url, body))
            for part, url, body in zip(parts, urls, bodies, strict=True)
        ]
        return upload, stored
