"""Parts: what is recorded, what is refused, and what that costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from score.errors import Conflict, Invalid, ScoreError
from score.protocol.wire import FinishedPart
from score.storage.base import StoredPart, UploadId, stored_part
from score.storage.local import LocalStore

from ..conftest import LAYOUT
from .conftest import MIB, Site, Test, md5, refused, start


def test_an_upload_in_any_order_of_parts(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        data = [b"a" * 5 * MIB, b"b" * 5 * MIB, b"c" * 7]
        whole = b"".join(data)
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, len(whole), md5=md5(whole))
        assert [(part["offset"], part["partSize"]) for part in spec["parts"]] == [
            (0, 5 * MIB), (5 * MIB, 5 * MIB), (10 * MIB, 7),
        ]  # fmt: skip
        for number in (3, 1, 2):
            assert not await uploads.completed(object_id)
            await site.put_part(uploads, spec, number, data[number - 1])
        progress = await uploads.status(object_id, len(whole))
        assert [(part.md5, part.source_md5) for part in progress.parts] == [(md5(one), md5(one)) for one in data]
        await uploads.complete(object_id, spec["uploadId"])
        assert await uploads.completed(object_id)
        assert await site.keys() == []
        final = await site.final(object_id)
        assert [(part["url"], part["sourceMd5"]) for part in final["parts"]] == [(None, md5(one)) for one in data]
        assert (final["objectSize"], final["objectMd5"]) == (len(whole), md5(whole))
        stat = await site.objects.stat(LAYOUT.object(object_id))
        assert stat is not None
        assert stat.size == len(whole)

    run(test)


def test_an_empty_file_goes_to_the_end(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 0)
        assert [(part["partNumber"], part["partSize"]) for part in spec["parts"]] == [(1, 0)]
        await site.put_part(uploads, spec, 1, b"")
        await uploads.complete(object_id, spec["uploadId"])
        stat = await site.objects.stat(LAYOUT.object(object_id))
        assert stat is not None
        assert stat.size == 0

    run(test)


def test_a_part_sent_again_replaces_its_record(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        await site.put_part(uploads, spec, 1, b"old")
        await site.put_part(uploads, spec, 1, b"old")
        with refused(Conflict, "another ETag"):
            await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"new"), md5(b"new"))
        await site.put_part(uploads, spec, 1, b"new")
        assert (await uploads.status(object_id, 3)).parts[0].source_md5 == md5(b"new")
        (record,) = [key for key in await site.keys() if "/part-" in key]
        assert md5(b"new") in record
        await uploads.complete(object_id, spec["uploadId"])
        assert (await site.final(object_id))["parts"][0]["sourceMd5"] == md5(b"new")

    run(test)


@pytest.mark.parametrize(
    ("number", "given", "etag", "kind", "why"),
    [
        (1, md5(b"abc"), md5(b"xyz"), Conflict, "another ETag"),
        (1, "f" * 32, md5(b"abc"), Conflict, "another MD5"),
        (1, "no md5", md5(b"abc"), Invalid, "md5"),
        (1, md5(b"abc"), f'"{md5(b"abc")}"', Invalid, "etag"),
        (0, md5(b"abc"), md5(b"abc"), Invalid, "partNumber 0"),
        (2, md5(b"abc"), md5(b"abc"), Invalid, "partNumber 2"),
        (10_001, md5(b"abc"), md5(b"abc"), Invalid, "partNumber 10001"),
    ],
)
def test_parts_that_are_refused(
    run: Callable[[Test], None], number: int, given: str, etag: str, kind: type[ScoreError], why: str
) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        await site.send(spec["parts"][0], b"abc")
        with refused(kind, why):
            await uploads.finish_part(object_id, spec["uploadId"], number, given, etag)
        assert [key for key in await site.keys() if "/part-" in key] == []

    run(test)


def test_a_part_that_the_store_does_not_hold(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        with refused(Conflict, "not in the store"):
            await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc"))
        with refused(Conflict, "1 of 1 parts are not finished"):
            await uploads.complete(object_id, spec["uploadId"])

    run(test)


def test_finishing_a_part_costs_the_same_however_many_there_are(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        costs = []
        for count in (1, 10_000):
            uploads = site.server()
            object_id = await site.register()
            spec = await start(uploads, object_id, 5 * MIB * (count - 1) + 3)
            assert len(spec["parts"]) == count
            await site.send(spec["parts"][-1], b"abc")
            fresh = site.server()
            calls, object_calls = site.watched.calls, site.watched_objects.calls
            for _ in range(2):  # the plan is read once, then remembered
                calls.clear()
                object_calls.clear()
                await fresh.finish_part(object_id, spec["uploadId"], count, md5(b"abc"), md5(b"abc"))
            costs.append((sorted(calls), sorted(object_calls)))
        assert costs[0] == costs[1]
        assert "get" not in costs[0][0]

    run(test)


def test_parts_that_are_finished_at_once_share_looks_at_the_store(run: Callable[[Test], None]) -> None:
    """And are judged each by itself."""

    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        count = 20
        spec = await start(uploads, object_id, 5 * MIB * count)
        good = [number for number in range(1, count + 1) if number % 5]
        # Elsewhere than on the disk one of another size, which is what the store tells too.
        data = bytes(5 * MIB) if isinstance(site.objects, LocalStore) else b"abc"
        for number in good:
            await site.send(spec["parts"][number - 1], data)
        site.watched_objects.calls.clear()
        works = [
            uploads.finish_part(object_id, spec["uploadId"], number, md5(data), md5(data))
            for number in range(1, count + 1)
        ]
        results = await asyncio.gather(*works, return_exceptions=True)
        for number, result in enumerate(results, 1):
            if number not in good:
                assert "not in the store" in str(result)
            elif len(data) == 5 * MIB:
                assert result is False
            else:
                assert "3 bytes in the store" in str(result)
        assert site.watched_objects.calls.count("find_parts") <= 2

    run(test)


def test_a_part_of_another_size_never_becomes_an_object(run: Callable[[Test], None]) -> None:
    """Recorded by a server that does not look at sizes, as the reference; a store that takes such a part is S3."""

    async def test(site: Site) -> None:
        if isinstance(site.objects, LocalStore):
            return  # its URLs take parts of their own size only
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        await site.send(spec["parts"][0], b"abcd")
        with refused(Conflict, "4 bytes in the store, not 3"):
            await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abcd"), md5(b"abcd"))
        record = FinishedPart(part_number=1, md5=md5(b"abcd"), etag=md5(b"abcd"))
        await site.state.put(LAYOUT.record(object_id, spec["uploadId"], record), b"")
        with refused(Conflict, "4 bytes in the store, not 3"):
            await uploads.complete(object_id, spec["uploadId"])
        assert await site.objects.stat(LAYOUT.object(object_id)) is None
        assert await stored_part(site.objects, LAYOUT.object(object_id), UploadId(spec["uploadId"]), 1) == StoredPart(
            1, 4, md5(b"abcd")
        )

    run(test)
