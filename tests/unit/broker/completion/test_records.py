"""Two records of a part, and records that contradict the store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from score.errors import Conflict, NotFound
from score.testing.minio import Minio

from ..conftest import LAYOUT, make_buckets, open_buckets, opened, settings_of
from .conftest import DATA, PART, SIZE, Crash, Dying, Run, Site, crashed, md5


@pytest.mark.parametrize("asked", ["status", "completion"])
@pytest.mark.parametrize("stale", ["older", "younger"])
def test_of_two_records_the_one_counts_that_the_store_agrees_with(run: Run, stale: str, asked: str) -> None:
    """A part sent again with other bytes, recorded twice; the other record goes, so that the reference goes on."""

    async def test(site: Site) -> None:
        upload = await site.start(await site.register(SIZE))
        await upload.finish(1, DATA[0])
        before = await upload.send(2, b"the old.")
        if stale == "older":
            await upload.record(2, md5(b"the old."), before)
        now = await upload.send(2, DATA[1])
        await upload.record(2, md5(DATA[1]), now)
        if stale == "younger":
            await upload.record(2, md5(b"the old."), before)
        assert len(await upload.records()) == 3
        if asked == "status":
            assert await upload.finished() == {1: md5(DATA[0]), 2: md5(DATA[1])}
        else:  # it dies just before the parts are joined, and the reference takes over
            dying = site.server(objects=Dying(site.objects, "complete"))
            with pytest.raises(Crash):
                await dying.complete(upload.object_id, upload.id)
        assert sorted(await upload.records()) == [(1, md5(DATA[0])), (2, md5(DATA[1]))]
        await upload.complete()
        await upload.check_complete()

    run(test)


def test_two_records_that_the_store_both_contradicts(run: Run) -> None:
    """The part was sent a third time and not recorded: it is to be sent again."""

    async def test(site: Site) -> None:
        upload = await site.upload()
        for data in (b"the old.", b"the 2nd."):
            await upload.record(2, md5(data), await upload.send(2, data))
        await upload.send(2, b"the 3rd.")
        with pytest.raises(Conflict, match=r"Part 2 .* another ETag"):
            await upload.complete()
        assert await upload.finished() == {1: md5(DATA[0])}
        assert await upload.records() == [(1, md5(DATA[0]))]
        await upload.finish(2, DATA[1])
        await upload.complete()
        await upload.check_complete()

    run(test)


def test_a_record_of_bytes_that_were_replaced_is_no_finished_part(run: Run) -> None:
    async def test(site: Site) -> None:
        upload = await site.upload()
        await upload.send(2, b"the new.")
        assert await upload.finished() == {1: md5(DATA[0])}
        await upload.finish(2, DATA[1])
        assert await upload.finished() == {1: md5(DATA[0]), 2: md5(DATA[1])}
        await upload.complete()
        await upload.check_complete()

    run(test)


def test_a_part_that_the_store_does_not_hold_is_not_finished(run: Run) -> None:
    async def test(site: Site) -> None:
        upload = await site.start(await site.register(SIZE))
        await upload.finish(1, DATA[0])
        await upload.record(2, md5(DATA[1]), md5(DATA[1]))
        assert await upload.finished() == {1: md5(DATA[0])}
        with pytest.raises(Conflict, match=r"Part 2 .* is not in the store"):
            await upload.complete()
        await upload.finish(2, DATA[1])
        await upload.complete()
        await upload.check_complete()

    run(test)


def test_a_record_whose_md5_and_etag_contradict_each_other(run: Run) -> None:
    """The reference believes the MD5 that it is told. Encrypted, nobody can tell."""

    async def test(site: Site) -> None:
        if not site.etags_are_md5s:
            return
        upload = await site.start(await site.register(SIZE))
        await upload.finish(1, DATA[0])
        await upload.record(2, "f" * 32, await upload.send(2, DATA[1]))
        assert await upload.finished() == {1: md5(DATA[0])}
        await upload.record(2, "f" * 32, md5(DATA[1]))
        await upload.finish(2, DATA[1])
        await upload.record(2, "e" * 32, md5(DATA[1]))
        assert await upload.finished() == {1: md5(DATA[0]), 2: md5(DATA[1])}
        assert len(await upload.records()) == 2
        await upload.complete()
        await upload.check_complete()

    run(test)


@pytest.mark.needs("minio")
def test_a_part_that_was_cut_short_is_not_finished(minio: Minio, tmp_path: Path) -> None:
    """Recorded by a server that does not look at sizes. On a disk a URL takes parts of their own size only."""

    async def test() -> None:
        pair = open_buckets(settings_of(minio), make_buckets(minio))
        async with opened(Site, pair, tmp_path) as site:
            upload = await site.start(await site.register(SIZE))
            await upload.finish(1, DATA[0])
            await upload.record(2, md5(b"the"), await upload.send(2, b"the"))
            assert await upload.finished() == {1: md5(DATA[0])}
            await upload.finish(2, DATA[1])
            await upload.complete()
            await upload.check_complete()

    asyncio.run(test())


def test_records_stand_where_the_upload_is_gone_from_the_store(run: Run) -> None:
    """Its parts were joined: whoever resumes has nothing to send, only to complete."""

    async def test(site: Site) -> None:
        upload = await crashed(site)
        assert await upload.finished() == {1: md5(DATA[0]), 2: md5(DATA[1])}
        await upload.complete()
        await upload.check_complete()

    run(test)


def test_an_upload_that_the_store_has_dropped_is_none_in_progress(run: Run) -> None:
    """As MinIO does after a day, and rules of a bucket do: nothing could be sent to it any more."""

    async def test(site: Site) -> None:
        older = await site.upload(b"z" * PART, b"an older")
        await older.complete()
        upload = await site.start(older.object_id)
        await upload.finish(1, DATA[0])
        await site.objects.abort(LAYOUT.object(upload.object_id), upload.id)
        with pytest.raises(NotFound, match="No such upload"):
            await upload.finished()
        again = await site.start(upload.object_id)
        await again.finish_all(DATA)
        await again.complete()
        await again.check_complete()

    run(test)
