"""What every store must do with uploads in parts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from score.errors import AlreadyExists, Conflict, NotFound, Unavailable
from score.protocol.parts import Span
from score.storage.base import ObjectStore, PlannedPart, StoredPart, UploadId, stored_part
from score.testing.store_ground import (
    MINUTE,
    NO_UPLOAD,
    ODD_KEYS,
    Aside,
    Run,
    StoreGround,
    T,
    Web,
    collect,
    md5,
    noise,
    plan,
    tamper,
)


class UploadContract(StoreGround):
    """The part of the suite about uploads."""

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
        assert run(stored_part(store, key, upload, 1)) is None
        etag = web.send(url, b"12345")
        if run(store.etags_are_md5(key)):
            assert etag == md5(b"12345")
        assert run(stored_part(store, key, upload, 1)) == StoredPart(1, 5, etag)
        assert run(stored_part(store, key, upload, 2)) is None
        run(store.abort(key, upload))

    def test_whether_etags_are_md5s_is_found_out(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        upload = run(store.begin(key))
        (url,) = store.sign_parts(key, upload, [PlannedPart(1, Span(0, 5))], MINUTE)
        etag = web.send(url, b"12345")
        assert run(store.etags_are_md5(key)) is (etag == md5(b"12345"))
        assert [one.upload_id for one in run(collect(store.open_uploads())) if one.key == key] == [upload]
        assert aside.get(key) is None
        run(store.abort(key, upload))

    def test_parts_come_in_any_order(self, run: Run, store: ObjectStore, web: Web, key: str) -> None:
        upload = run(store.begin(key))
        parts = plan(10, 20, 30, 40, 50, 60, 70)
        urls = store.sign_parts(key, upload, parts, MINUTE)
        sent: dict[int, StoredPart] = {}
        for number in (4, 2, 7, 6, 1, 3):
            data = noise(number * 10, number)
            assert run(stored_part(store, key, upload, number)) is None
            sent[number] = StoredPart(number, len(data), web.send(urls[number - 1], data))
            assert run(stored_part(store, key, upload, number)) == sent[number]
            assert run(collect(store.stored_parts(key, upload))) == [sent[n] for n in sorted(sent)]
        assert run(stored_part(store, key, upload, 5)) is None
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
        assert run(stored_part(store, key, upload, 50)) == StoredPart(50, 1, sent[50])
        for number in (59, 26, 2, 50):
            assert run(stored_part(late_store, key, upload, number)) == StoredPart(number, 1, sent[number])
        assert run(stored_part(late_store, key, upload, 1)) is None
        assert run(stored_part(late_store, key, upload, 60)) is None
        run(store.abort(key, upload))

    def test_several_parts_are_found_at_once(
        self, run: Run, store: ObjectStore, late_store: ObjectStore, web: Web, key: str
    ) -> None:
        """Near and far ones, with gaps, whatever the store was asked before."""
        upload = run(store.begin(key))
        urls = store.sign_parts(key, upload, plan(*[1] * 300), MINUTE)
        sent = {
            number: StoredPart(number, 1, web.send(urls[number - 1], b"x"))
            for number in (1, 2, 3, 5, 9, 70, 71, 140, 299, 300)
        }
        for asked in ([2, 3], [4], [1, 4, 5, 6], [71], [70, 72, 298, 299], list(range(1, 301)), [300, 9, 140], []):
            expected = {number: part for number, part in sent.items() if number in asked}
            assert run(store.find_parts(key, upload, asked)) == expected
            assert run(late_store.find_parts(key, upload, asked)) == expected
        run(store.abort(key, upload))
        with pytest.raises(NotFound):
            run(store.find_parts(key, upload, [1, 299]))

    def test_a_part_sent_again_replaces(self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str) -> None:
        upload, (first,) = self.upload(run, store, web, key, b"first")
        (url,) = store.sign_parts(key, upload, [PlannedPart(1, Span(0, 5))], MINUTE)
        again = StoredPart(1, 5, web.send(url, b"again"))
        assert run(stored_part(store, key, upload, 1)) == again
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
            assert run(stored_part(store, key, upload, number)) == stored[number - 1]
        run(store.abort(key, upload))

    def test_parts_of_no_upload(self, run: Run, store: ObjectStore, key: str) -> None:
        with pytest.raises(NotFound):
            run(stored_part(store, key, NO_UPLOAD, 1))
        with pytest.raises(NotFound):
            run(stored_part(store, key, NO_UPLOAD, 5))
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
        """Where ETags are no MD5s, size and number of parts are all that can be compared."""
        upload, parts = self.upload(run, store, web, key, b"a single part")
        run(store.complete(key, upload, parts))
        if run(store.etags_are_md5(key)):
            with pytest.raises((NotFound, Conflict)):
                run(store.complete(key, upload, [replace(parts[0], etag=md5(b"other"))]))
        with pytest.raises((NotFound, Conflict)):
            run(store.complete(key, upload, [replace(parts[0], size=parts[0].size + 1)]))

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
        assert run(stored_part(store, key, upload, 1)) == parts[0]
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

    @pytest.mark.parametrize("first", ["an upload", "another tool"])
    def test_an_object_that_came_first_stays_where_it_is_not_to_be_replaced(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str, first: str
    ) -> None:
        one, parts = self.upload(run, store, web, key, b"first")
        two, others = self.upload(run, store, web, key, b"other")
        if first == "an upload":
            run(store.complete(key, one, parts, False))
        else:
            aside.put(key, b"first")
        for _ in range(2):
            with pytest.raises(AlreadyExists):
                run(store.complete(key, two, others, False))
            assert aside.get(key) == b"first"
        if first == "an upload":
            assert run(store.complete(key, one, parts, False)).size == 5
        assert run(stored_part(store, key, two, 1)) == others[0]
        run(store.abort(key, two))
        run(store.abort(key, one))
        assert aside.get(key) == b"first"

    def test_the_same_bytes_may_come_twice(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        one, parts = self.upload(run, store, web, key, b"the same")
        two, others = self.upload(run, store, web, key, b"the same")
        made = run(store.complete(key, one, parts, False))
        if not run(store.etags_are_md5(key)):  # then nobody can tell that they are the same
            with pytest.raises(AlreadyExists):
                run(store.complete(key, two, others, False))
            return
        for upload, sent in ((two, others), (one, parts), (two, others)):
            assert run(store.complete(key, upload, sent, False)).etag == made.etag
        assert not {(key, one), (key, two)} & run(self.open_uploads(store))
        assert aside.get(key) == b"the same"

    def test_of_many_that_are_completed_at_once_one_makes_the_object(
        self, run: Run, store: ObjectStore, aside: Aside, web: Web, key: str
    ) -> None:
        bodies = [f"upload {number}".encode() for number in range(8)]
        uploads = [self.upload(run, store, web, key, body) for body in bodies]

        async def complete(upload: UploadId, parts: list[StoredPart]) -> bool:
            while True:
                try:
                    await store.complete(key, upload, parts, False)
                except (AlreadyExists, Conflict):  # the latter where it made one, which was replaced at once
                    return False
                except Unavailable:
                    continue
                return True

        async def all_at_once() -> list[bool]:
            return await asyncio.gather(*[complete(*one) for one in uploads])

        made = run(all_at_once())
        last = aside.get(key)
        assert last in bodies
        if self.keeps:
            assert [body for body, one in zip(bodies, made, strict=True) if one] == [last]
        for upload, _ in uploads:
            run(store.abort(key, upload))
        assert aside.get(key) == last

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
        assert web.send(url, b"gone") == missing.etag or not run(store.etags_are_md5(key))
        last = run(stored_part(store, key, upload, 2))
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
            run(stored_part(store, key, upload, 1))
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
            upload, parts = self.upload(run, store, web, f"uploads-of-{key}", b"odd")
            assert (f"uploads-of-{key}", upload) in run(self.open_uploads(store))
            run(store.complete(f"uploads-of-{key}", upload, parts))
            assert aside.get(f"uploads-of-{key}") == b"odd"

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
