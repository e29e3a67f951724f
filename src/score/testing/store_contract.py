"""What every object store must do: one suite for all of them.

A store is tested by a subclass that gives four things::

    class TestMyStore(StoreContract):
        @pytest.fixture(scope="class")
        @classmethod
        def store(cls, run: Run) -> Iterator[ObjectStore]: ...         # an empty bucket; closed afterwards by run()
        @pytest.fixture(scope="class")
        @classmethod
        def late_store(cls, store: ObjectStore) -> ObjectStore: ...    # the same bucket, clock ten minutes slow
        @pytest.fixture(scope="class")
        @classmethod
        def aside(cls, store: ObjectStore) -> Aside: ...               # the same bucket, past the code under test

Signed URLs are called with urllib3, as a client does, on whatever host they name. A store that serves its URLs itself
has to do so from another thread: the tests block the one they run in. The event loop of ``run`` is the same for all
tests of a class and runs only within ``run``. Nothing here waits, and no two tests share a key.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Protocol, TypeVar

import pytest
import urllib3

from score.errors import Conflict, Invalid, NotFound
from score.protocol.parts import Span
from score.storage.base import ObjectStat, ObjectStore, PlannedPart, Prefix, StoredPart, UploadId

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
    """The URL with another last character; the signature, or what stands last, is then wrong."""
    return url[:-1] + ("0" if url[-1] != "0" else "1")


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


class StoreContract:
    """The suite. ``many`` is how many keys, parts and uploads the paging tests make: more than a page of 1,000."""

    many: ClassVar[int] = 1003

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

    # Small objects

    def test_an_object_that_was_put_is_there(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        run(store.put(key, b"some state"))
        assert aside.get(key) == b"some state"
        assert run(store.get(key)) == b"some state"

    def test_an_object_of_others_is_read(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        aside.put(key, b"of others")
        assert run(store.get(key)) == b"of others"

    @pytest.mark.parametrize("size", [0, 1, 5_000_000])
    def test_objects_of_any_size(self, run: Run, store: ObjectStore, key: str, size: int) -> None:
        data = noise(size)
        run(store.put(key, data))
        assert run(store.get(key)) == data
        stat = run(store.stat(key))
        assert stat is not None
        assert stat.size == size

    def test_put_replaces(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        run(store.put(key, b"a longer first version"))
        run(store.put(key, b"second"))
        run(store.put(key, b"second"))
        assert aside.get(key) == b"second"

    def test_get_of_nothing(self, run: Run, store: ObjectStore, key: str) -> None:
        with pytest.raises(NotFound):
            run(store.get(key))

    def test_stat(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        assert run(store.stat(key)) is None
        aside.put(key, b"12345")
        stat = run(store.stat(key))
        assert stat is not None
        assert (stat.key, stat.size) == (key, 5)
        assert abs(datetime.now(UTC) - stat.last_modified) < timedelta(hours=1)
        assert '"' not in stat.etag

    def test_stat_of_a_folder_is_none(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        aside.put(f"{key}/below", b"1")
        assert run(store.stat(key)) is None

    def test_delete(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        for name in "abc":
            aside.put(f"{key}/{name}", b"1")
        run(store.delete(f"{key}/a", f"{key}/not-there", f"{key}/b"))
        assert aside.keys(key) == [f"{key}/c"]
        run(store.delete(f"{key}/a", f"{key}/b"))
        run(store.delete(f"{key}/c"))
        run(store.delete(f"{key}/c"))
        run(store.delete())
        assert aside.keys(key) == []

    def test_read_gives_exactly_the_span(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        data = noise(1000)
        aside.put(key, data)
        for span in (Span(0, 1), Span(999, 1), Span(0, 1000), Span(100, 250)):
            assert run(store.read(key, span)) == data[span.offset : span.end]
        assert run(store.read(key, Span(10, 0))) == b""

    @pytest.mark.parametrize("span", [Span(0, 11), Span(9, 2), Span(10, 1), Span(500, 5)])
    def test_read_beyond_the_end(self, run: Run, store: ObjectStore, aside: Aside, key: str, span: Span) -> None:
        aside.put(key, b"0123456789")
        with pytest.raises(Invalid):
            run(store.read(key, span))

    @pytest.mark.parametrize("span", [Span(0, 1), Span(0, 0)])
    def test_read_of_nothing(self, run: Run, store: ObjectStore, key: str, span: Span) -> None:
        with pytest.raises(NotFound):
            run(store.read(key, span))

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys(self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str) -> None:
        data = key.encode()
        run(store.put(key, data))
        assert aside.get(key) == data
        assert run(store.get(key)) == data
        stat = run(store.stat(key))
        assert stat is not None
        assert (stat.key, stat.size) == (key, len(data))
        assert [found.key for found in run(collect(store.scan(key)))] == [key]
        (url,) = store.sign_gets(key, [None], MINUTE)
        assert web.get(url).data == data
        run(store.delete(key, "data/not-there"))
        assert aside.get(key) is None

    def test_probe(self, run: Run, store: ObjectStore) -> None:
        probe = run(store.probe())
        assert probe.ok, probe.problem
        assert probe.problem == ""
        assert probe.clock_skew is None or abs(probe.clock_skew) < 60

    # Listings

    def test_scan_is_in_the_order_of_keys(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        # "-" and "." sort before "/", "0" after it: an order by folders would be another.
        names = ["a-b", "a.b", "a/b", "a/c/d", "a0", "B", "é", "\uffee", "\U0001f9ec"]
        for name in reversed(names):
            aside.put(f"{key}/{name}", name.encode())
        found = run(collect(store.scan(f"{key}/")))
        assert [stat.key for stat in found] == sorted(f"{key}/{name}" for name in names)
        assert all(isinstance(stat, ObjectStat) for stat in found)
        assert [stat.size for stat in found if isinstance(stat, ObjectStat)] == [
            len(name.encode()) for name in sorted(names)
        ]

    def test_scan_takes_any_prefix(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        for name in ("ab/1", "abc/2", "abd", "b"):
            aside.put(f"{key}/{name}", b"")
        assert [found.key for found in run(collect(store.scan(f"{key}/ab")))] == [
            f"{key}/ab/1",
            f"{key}/abc/2",
            f"{key}/abd",
        ]
        assert run(collect(store.scan(f"{key}/nothing"))) == []
        assert f"{key}/b" in {found.key for found in run(collect(store.scan("")))}

    def test_scan_with_a_delimiter(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        for name in ("id_1/.meta", "id_1/part-1", "id_2/.meta", "id_3", "other/x/y"):
            aside.put(f"{key}/{name}", b"1")
        found = run(collect(store.scan(f"{key}/id_", delimiter="/")))
        assert [type(item) for item in found] == [Prefix, Prefix, ObjectStat]
        assert [item.key for item in found] == [f"{key}/id_1/", f"{key}/id_2/", f"{key}/id_3"]
        below = run(collect(store.scan(f"{key}/", delimiter="/")))
        assert [item.key for item in below] == [f"{key}/id_1/", f"{key}/id_2/", f"{key}/id_3", f"{key}/other/"]

    def test_many_objects(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        keys = [f"{key}/{number:05d}/x|y" for number in range(self.many)]

        async def put_all() -> None:
            for start in range(0, len(keys), 50):
                await asyncio.gather(*(store.put(key, b"") for key in keys[start : start + 50]))

        run(put_all())
        assert [found.key for found in run(collect(store.scan(f"{key}/")))] == keys
        assert run(collect(store.scan(f"{key}/", delimiter="/"))) == [Prefix(key.removesuffix("x|y")) for key in keys]
        run(store.delete(*keys))
        assert aside.keys(f"{key}/") == []

    # URLs to read with

    def test_a_span_works_with_its_range_only(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        data = noise(100)
        aside.put(key, data)
        spans = [Span(0, 50), Span(50, 49), Span(99, 1), Span(0, 100)]
        urls = store.sign_gets(key, spans, MINUTE)
        assert len(set(urls)) == len(spans)
        for span, url in zip(spans, urls, strict=True):
            answer = web.get(url, span.http_range)
            assert answer.status == 206
            assert answer.data == data[span.offset : span.end]
            assert answer.headers["Content-Range"] == f"bytes {span.offset}-{span.end - 1}/100"
        assert web.get(urls[0], "bytes=0-50").status == 403
        assert web.get(urls[0], "bytes=0-48").status == 403
        assert web.get(urls[0], "bytes=50-98").status == 403
        assert web.get(urls[0]).status in (400, 403)

    def test_a_url_without_span_works_with_any_range(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        aside.put(key, b"0123456789")
        for url in store.sign_gets(key, [None, Span(3, 0)], MINUTE):
            whole = web.get(url)
            assert (whole.status, whole.data) == (200, b"0123456789")
            for wanted, status, data in [
                ("bytes=2-4", 206, b"234"),
                ("bytes=7-", 206, b"789"),
                ("bytes=-2", 206, b"89"),
                ("bytes=8-99", 206, b"89"),
            ]:
                answer = web.get(url, wanted)
                assert (answer.status, answer.data) == (status, data)
            assert web.get(url, "bytes=10-").status == 416

    def test_a_url_of_an_empty_object(self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str) -> None:
        aside.put(key, b"")
        (url,) = store.sign_gets(key, [None], MINUTE)
        answer = web.get(url)
        assert (answer.status, answer.data) == (200, b"")

    def test_a_url_of_an_object_that_is_not_there(self, store: ObjectStore, web: Web, key: str) -> None:
        (url,) = store.sign_gets(key, [None], MINUTE)
        assert web.get(url).status == 404

    def test_a_url_to_read_does_nothing_else(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        aside.put(key, b"secret")
        other = f"data/{uuid.uuid4()}"
        aside.put(other, b"another secret")
        (url,) = store.sign_gets(key, [None], MINUTE)
        assert web.get(tamper(url)).status == 403
        assert web.get(url.replace(key, other)).status == 403
        assert web.get(url.partition("?")[0]).status in (400, 403)
        assert web.put(url, b"overwritten").status in (403, 405)
        assert aside.get(key) == b"secret"

    def test_a_url_expires(
        self, store: ObjectStore, late_store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        aside.put(key, b"secret")
        for late in (*late_store.sign_gets(key, [None], MINUTE), *late_store.sign_gets(key, [None], -MINUTE)):
            assert web.get(late).status == 403
        (url,) = late_store.sign_gets(key, [None], timedelta(hours=2))
        assert web.get(url).data == b"secret"

    def test_a_life_beyond_the_longest_is_clamped(self, store: ObjectStore, aside: Aside, web: Web, key: str) -> None:
        aside.put(key, b"secret")
        (url,) = store.sign_gets(key, [None], store.limits.longest_url_life * 2)
        assert web.get(url).data == b"secret"

    def test_no_urls(self, store: ObjectStore, key: str) -> None:
        assert store.sign_gets(key, [], MINUTE) == []
        assert store.sign_parts(key, NO_UPLOAD, [], MINUTE) == []

    # URLs to write parts with

    def test_as_many_part_urls_as_parts(self, store: ObjectStore, key: str) -> None:
        parts = plan(*[store.limits.smallest_part] * store.limits.most_parts)
        urls = store.sign_parts(key, NO_UPLOAD, parts, timedelta(days=6))
        assert len(set(urls)) == store.limits.most_parts

    def test_a_part_url_does_nothing_else(
        self, run: Run, store: ObjectStore, late_store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        upload = run(store.begin(key))
        (url,) = store.sign_parts(key, upload, [PlannedPart(1, Span(0, 4))], MINUTE)
        (late,) = late_store.sign_parts(key, upload, [PlannedPart(1, Span(0, 4))], MINUTE)
        assert "partNumber=1" in url
        assert web.put(tamper(url), b"evil").status == 403
        assert web.put(url.replace("partNumber=1", "partNumber=2"), b"evil").status == 403
        assert web.put(url.replace(key, key + "x"), b"evil").status == 403
        assert web.put(late, b"late").status == 403
        assert web.get(url).status in (403, 404, 405)
        assert run(collect(store.stored_parts(key, upload))) == []
        assert aside.get(key) is None
        run(store.abort(key, upload))

    def test_a_part_for_no_upload(self, run: Run, store: ObjectStore, web: Web, key: str) -> None:
        (url,) = store.sign_parts(key, NO_UPLOAD, [PlannedPart(1, Span(0, 4))], MINUTE)
        assert web.put(url, b"data").status == 404

    # Parts

    def test_a_part_that_was_sent_is_stored(self, run: Run, store: ObjectStore, web: Web, key: str) -> None:
        upload = run(store.begin(key))
        (url,) = store.sign_parts(key, upload, [PlannedPart(1, Span(0, 5))], MINUTE)
        assert run(store.stored_part(key, upload, 1)) is None
        etag = web.send(url, b"12345")
        if store.limits.etag_is_md5:
            assert etag == md5(b"12345")
        assert run(store.stored_part(key, upload, 1)) == StoredPart(1, 5, etag)
        assert run(store.stored_part(key, upload, 2)) is None
        run(store.abort(key, upload))

    def test_parts_come_in_any_order(self, run: Run, store: ObjectStore, web: Web, key: str) -> None:
        upload = run(store.begin(key))
        parts = plan(10, 20, 30, 40, 50, 60, 70)
        urls = store.sign_parts(key, upload, parts, MINUTE)
        sent: dict[int, StoredPart] = {}
        for number in (4, 2, 7, 6, 1, 3):
            data = noise(number * 10, number)
            assert run(store.stored_part(key, upload, number)) is None
            sent[number] = StoredPart(number, len(data), web.send(urls[number - 1], data))
            assert run(store.stored_part(key, upload, number)) == sent[number]
            assert run(collect(store.stored_parts(key, upload))) == [sent[n] for n in sorted(sent)]
        assert run(store.stored_part(key, upload, 5)) is None
        for after in range(9):
            assert run(collect(store.stored_parts(key, upload, after))) == [
                sent[n] for n in sorted(sent) if n > after
            ]
        run(store.abort(key, upload))

    def test_a_part_is_found_by_a_store_that_never_saw_the_others(
        self, run: Run, store: ObjectStore, late_store: ObjectStore, web: Web, key: str
    ) -> None:
        """Several servers share a bucket: what one has seen, another has not."""
        upload = run(store.begin(key))
        urls = store.sign_parts(key, upload, plan(*[1] * 60), MINUTE)
        sent = {number: web.send(urls[number - 1], bytes([number])) for number in range(2, 60, 3)}
        assert run(store.stored_part(key, upload, 50)) == StoredPart(50, 1, sent[50])
        for number in (59, 26, 2, 50):
            assert run(late_store.stored_part(key, upload, number)) == StoredPart(number, 1, sent[number])
        assert run(late_store.stored_part(key, upload, 1)) is None
        assert run(late_store.stored_part(key, upload, 60)) is None
        run(store.abort(key, upload))

    def test_a_part_sent_again_replaces(self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str) -> None:
        upload, (first,) = self.upload(run, store, web, key, b"first")
        (url,) = store.sign_parts(key, upload, [PlannedPart(1, Span(0, 5))], MINUTE)
        again = StoredPart(1, 5, web.send(url, b"again"))
        assert run(store.stored_part(key, upload, 1)) == again
        with pytest.raises(Conflict):
            run(store.complete(key, upload, [first]))
        run(store.complete(key, upload, [again]))
        assert aside.get(key) == b"again"

    def test_many_parts(self, run: Run, store: ObjectStore, web: Web, key: str) -> None:
        upload = run(store.begin(key))
        parts = plan(*[1] * self.many)
        urls = store.sign_parts(key, upload, parts, MINUTE)
        with ThreadPoolExecutor(8) as pool:
            etags = list(pool.map(lambda url: web.send(url, b"x"), urls))
        stored = [StoredPart(part.number, 1, etag) for part, etag in zip(parts, etags, strict=True)]
        assert run(collect(store.stored_parts(key, upload))) == stored
        assert run(collect(store.stored_parts(key, upload, self.many - 2))) == stored[-2:]
        for number in (self.many, 1, self.many // 2):
            assert run(store.stored_part(key, upload, number)) == stored[number - 1]
        run(store.abort(key, upload))

    def test_parts_of_no_upload(self, run: Run, store: ObjectStore, key: str) -> None:
        with pytest.raises(NotFound):
            run(store.stored_part(key, NO_UPLOAD, 1))
        with pytest.raises(NotFound):
            run(store.stored_part(key, NO_UPLOAD, 5))
        with pytest.raises(NotFound):
            run(collect(store.stored_parts(key, NO_UPLOAD)))

    # Completion

    def test_a_completed_upload_is_the_object(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        size = store.limits.smallest_part
        bodies = [noise(size, 1), noise(size, 2), b"the rest"]
        upload, parts = self.upload(run, store, web, key, *bodies)
        assert run(store.stat(key)) is None
        done = run(store.complete(key, upload, [parts[2], parts[0], parts[1]]))
        assert (done.key, done.size) == (key, 2 * size + 8)
        stat = run(store.stat(key))
        assert stat is not None
        assert (stat.size, stat.etag) == (done.size, done.etag)
        assert done.etag
        assert aside.get(key) == b"".join(bodies)
        span = Span(size - 3, size + 6)
        (url,) = store.sign_gets(key, [span], MINUTE)
        assert web.get(url, span.http_range).data == b"".join(bodies)[span.offset : span.end]

    def test_completing_twice(self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str) -> None:
        upload, parts = self.upload(run, store, web, key, b"a single part")
        first = run(store.complete(key, upload, parts))
        second = run(store.complete(key, upload, parts))
        assert (first.size, first.etag) == (second.size, second.etag)
        assert aside.get(key) == b"a single part"

    def test_completing_twice_with_other_parts(self, run: Run, store: ObjectStore, web: Web, key: str) -> None:
        upload, parts = self.upload(run, store, web, key, b"a single part")
        run(store.complete(key, upload, parts))
        with pytest.raises((NotFound, Conflict)):
            run(store.complete(key, upload, [replace(parts[0], etag=md5(b"other"))]))

    def test_completing_again_what_was_replaced(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        upload, parts = self.upload(run, store, web, key, b"a single part")
        run(store.complete(key, upload, parts))
        other, others = self.upload(run, store, web, key, b"another, later")
        run(store.complete(key, other, others))
        with pytest.raises((NotFound, Conflict)):
            run(store.complete(key, upload, parts))
        assert aside.get(key) == b"another, later"

    def test_completing_again_what_was_lost(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        upload, parts = self.upload(run, store, web, key, b"a single part")
        run(store.complete(key, upload, parts))
        aside.delete(key)
        with pytest.raises((NotFound, Conflict)):
            run(store.complete(key, upload, parts))
        assert aside.get(key) is None

    def test_an_empty_object(self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str) -> None:
        upload, parts = self.upload(run, store, web, key, b"")
        assert run(store.stored_part(key, upload, 1)) == parts[0]
        done = run(store.complete(key, upload, parts))
        assert done.size == 0
        assert aside.get(key) == b""
        assert run(store.complete(key, upload, parts)).size == 0

    def test_an_object_stays_until_the_new_one_is_complete(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        aside.put(key, b"old")
        upload, parts = self.upload(run, store, web, key, b"new, longer")
        assert aside.get(key) == b"old"
        with pytest.raises(Conflict):
            run(store.complete(key, upload, [replace(parts[0], etag=md5(b"wrong"))]))
        assert aside.get(key) == b"old"
        run(store.complete(key, upload, parts))
        assert aside.get(key) == b"new, longer"

    def test_a_missing_part_is_a_conflict(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        size = store.limits.smallest_part
        upload, parts = self.upload(run, store, web, key, noise(size))
        missing = StoredPart(2, 4, md5(b"gone"))
        with pytest.raises(Conflict):
            run(store.complete(key, upload, [*parts, missing]))
        assert aside.get(key) is None
        (url,) = store.sign_parts(key, upload, [PlannedPart(2, Span(size, 4))], MINUTE)
        assert web.send(url, b"gone") == missing.etag or not store.limits.etag_is_md5
        last = run(store.stored_part(key, upload, 2))
        assert last is not None
        run(store.complete(key, upload, [*parts, last]))
        assert aside.get(key) == noise(size) + b"gone"

    def test_completing_no_upload(self, run: Run, store: ObjectStore, key: str) -> None:
        with pytest.raises(NotFound):
            run(store.complete(key, NO_UPLOAD, [StoredPart(1, 4, md5(b"gone"))]))

    # Aborting

    def test_abort(self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str) -> None:
        upload, parts = self.upload(run, store, web, key, b"in vain")
        (url,) = store.sign_parts(key, upload, plan(7), MINUTE)
        run(store.abort(key, upload))
        run(store.abort(key, upload))
        run(store.abort(key, NO_UPLOAD))
        with pytest.raises(NotFound):
            run(store.stored_part(key, upload, 1))
        with pytest.raises(NotFound):
            run(store.complete(key, upload, parts))
        assert web.put(url, b"in vain").status == 404
        assert aside.get(key) is None

    def test_abort_after_completion_keeps_the_object(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        upload, parts = self.upload(run, store, web, key, b"to stay")
        (url,) = store.sign_parts(key, upload, plan(7), MINUTE)
        run(store.complete(key, upload, parts))
        run(store.abort(key, upload))
        assert web.put(url, b"changed").status == 404
        assert aside.get(key) == b"to stay"

    def test_uploads_of_one_key_are_independent(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        one, parts = self.upload(run, store, web, key, b"one")
        two, _ = self.upload(run, store, web, key, b"two!")
        assert one != two
        run(store.abort(key, two))
        run(store.complete(key, one, parts))
        assert aside.get(key) == b"one"

    def test_uploads_of_odd_keys(self, run: Run, store: ObjectStore, aside: Aside, web: Web) -> None:
        for key in ODD_KEYS:
            upload, parts = self.upload(run, store, web, f"{key}-upload", b"odd")
            assert (f"{key}-upload", upload) in run(self.open_uploads(store))
            run(store.complete(f"{key}-upload", upload, parts))
            assert aside.get(f"{key}-upload") == b"odd"

    # Uploads in progress

    async def open_uploads(self, store: ObjectStore) -> set[tuple[str, UploadId]]:
        return {(upload.key, upload.upload_id) async for upload in store.open_uploads()}

    def test_open_uploads(self, run: Run, store: ObjectStore, web: Web, key: str) -> None:
        one, parts = self.upload(run, store, web, key, b"one")
        two = run(store.begin(f"{key}.two"))
        found = [upload for upload in run(collect(store.open_uploads())) if upload.key.startswith(key)]
        assert {(upload.key, upload.upload_id) for upload in found} == {(key, one), (f"{key}.two", two)}
        assert all(abs(datetime.now(UTC) - upload.started) < timedelta(hours=1) for upload in found)
        run(store.complete(key, one, parts))
        assert not {(key, one)} & run(self.open_uploads(store))
        run(store.abort(f"{key}.two", two))
        assert not {(f"{key}.two", two)} & run(self.open_uploads(store))

    def test_many_open_uploads(self, run: Run, store: ObjectStore, key: str) -> None:
        async def in_turns(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
            answers: list[T] = []
            for start in range(0, len(calls), 50):
                answers += await asyncio.gather(*calls[start : start + 50])
            return answers

        keys = [f"{key}/{number}" for number in range(self.many)]
        uploads = run(in_turns([store.begin(key) for key in keys]))
        begun = set(zip(keys, uploads, strict=True))
        assert begun <= run(self.open_uploads(store))
        run(in_turns([store.abort(key, upload) for key, upload in begun]))
        assert not begun & run(self.open_uploads(store))
