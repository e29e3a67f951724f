"""What every store must do with objects, listings, and URLs to read with."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from score.errors import AlreadyExists, Invalid, NotFound
from score.protocol.parts import Span
from score.storage.base import NOTHING, ObjectStat, ObjectStore, Prefix
from score.testing.store_ground import (
    MINUTE,
    NO_UPLOAD,
    ODD_KEYS,
    Aside,
    Run,
    StoreGround,
    Web,
    collect,
    noise,
    tamper,
)


class ObjectContract(StoreGround):
    """The part of the suite about objects."""

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

    def test_put_replaces_nothing_where_it_is_not_to(
        self, run: Run, store: ObjectStore, aside: Aside, key: str
    ) -> None:
        run(store.put(key, b"first", NOTHING))
        with pytest.raises(AlreadyExists):
            run(store.put(key, b"second", NOTHING))
        assert aside.get(key) == b"first"
        run(store.put(key, b"third"))
        assert aside.get(key) == b"third"

    def test_put_replaces_only_what_it_may(self, run: Run, store: ObjectStore, aside: Aside, key: str) -> None:
        def etag() -> str:
            stat = run(store.stat(key))
            assert stat is not None
            return stat.etag

        run(store.put(key, b"first"))
        first = etag()
        run(store.put(key, b"the second", first))
        assert aside.get(key) == b"the second"
        with pytest.raises(AlreadyExists):
            run(store.put(key, b"the third one", first))
        assert aside.get(key) == b"the second"
        second = etag()
        run(store.delete(key))
        with pytest.raises(AlreadyExists):
            run(store.put(key, b"a fourth one", second))
        assert run(store.stat(key)) is None

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

    def test_a_cleared_folder_is_empty_and_its_neighbours_are_as_before(
        self, run: Run, store: ObjectStore, aside: Aside, key: str
    ) -> None:
        neighbours = sorted(f"{key}{name}" for name in ("-", "/b/1", "/ab/1", "/A/1"))
        inside = sorted(f"{key}/a/{name}" for name in (".meta", 'part-00000001|{"partNumber":1}', "b/c"))
        for name in [*neighbours, *inside]:
            aside.put(name, b"1")
        run(store.stat(key))
        cleared = run(store.clear(f"{key}/a/"))
        assert cleared == self.clears
        assert aside.keys(key) == sorted([*neighbours, *([] if cleared else inside)])
        assert run(store.clear(f"{key}/a/")) == self.clears
        assert run(store.clear(f"{key}/none/")) == self.clears
        assert aside.keys(key) == sorted([*neighbours, *([] if cleared else inside)])

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
        assert len(urls) == len(spans)
        for span, url in zip(spans, urls, strict=True):
            answer = web.get(url, span.http_range)
            assert answer.status == 206
            assert answer.data == data[span.offset : span.end]
            assert answer.headers["Content-Range"] == f"bytes {span.offset}-{span.end - 1}/100"
        if not store.limits.urls_bind_ranges:
            return
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
