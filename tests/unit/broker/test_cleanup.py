"""The cleanup of stale uploads, on real stores."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from score.broker.access import Access
from score.broker.cleanup import Cleanup, Stale, Swept, is_stale, keep_clean
from score.broker.uploads import UploadRules, Uploads
from score.config.cron import parse
from score.errors import Refused, Unavailable
from score.protocol.wire import FinishedPart
from score.storage.base import ObjectStore, OpenUpload, UploadId
from score.storage.local import LocalStore
from score.storage.s3.store import open_stores
from score.testing.minio import Minio, running_minio
from score.testing.s3_contract import boto

from .conftest import LAYOUT, MINIO, make_buckets, opened, settings_of
from .conftest import Site as Ground

LIFE = timedelta(days=6)
RECORD = FinishedPart(part_number=1, md5="0" * 32, etag="0" * 32)


@dataclass
class Site(Ground):
    """Two buckets and a registry, and a server on them."""

    def __post_init__(self) -> None:
        self.uploads = Uploads(self.objects, self.state, Access(self.registry), LAYOUT, UploadRules())

    async def start(self) -> tuple[str, UploadId]:
        """A new upload: its object and itself."""
        object_id = await self.register(3)
        return object_id, UploadId(json.loads(await self.uploads.start(object_id, 3))["uploadId"])

    def cleanup(self, days: float, life: timedelta = LIFE) -> Cleanup:
        """The cleanup in so many days."""
        now = datetime.now(UTC) + timedelta(days=days)
        return Cleanup(self.objects, self.state, LAYOUT, self.uploads, life, lambda: now)

    async def found(self, days: float, life: timedelta = LIFE) -> set[tuple[str, UploadId]]:
        return {(stale.object_id, stale.upload_id) async for stale in self.cleanup(days, life).find()}

    async def keys(self) -> set[str]:
        return {entry.key for store in (self.state, self.objects) async for entry in store.scan("")}

    async def open(self) -> set[UploadId]:
        return {upload.upload_id async for upload in self.objects.open_uploads()}


Test = Callable[[Site], Awaitable[None]]


@pytest.fixture
def make_site() -> type[Site]:
    return Site


def test_an_upload_is_stale_after_its_life() -> None:
    now = datetime.now(UTC)
    assert not is_stale(now - LIFE, now, LIFE)
    assert is_stale(now - LIFE - timedelta(seconds=1), now, LIFE)
    assert is_stale(now, now, timedelta())
    assert is_stale(now + timedelta(hours=1), now, timedelta()), "the store's clock may be ahead"


def test_stale_uploads_go_and_young_ones_stay(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        first, second = await site.start(), await site.start()
        await site.state.put(LAYOUT.record(*first, RECORD), b"")
        before = await site.keys()
        assert await site.found(5.9) == set()
        assert await site.cleanup(5.9).run() == Swept(0, 0)
        assert (await site.keys(), await site.open()) == (before, {first[1], second[1]})
        assert await site.found(6.1) == {first, second}
        assert (await site.keys(), await site.open()) == (before, {first[1], second[1]}), "a look changes nothing"
        assert await site.cleanup(6.1).run() == Swept(2, 0)
        assert (await site.keys(), await site.open()) == (set(), set())
        assert await site.cleanup(6.1).run() == Swept(0, 0)

    run(test)


def test_no_life_makes_everything_stale(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        started = await site.start()
        assert await site.found(0, timedelta()) == {started}

    run(test)


def test_state_without_upload_and_uploads_without_state(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        without_upload, without_state, only_records = [await site.start() for _ in range(3)]
        await site.objects.abort(LAYOUT.object(without_upload[0]), without_upload[1])
        await site.state.delete(LAYOUT.upload_meta(*without_state))
        await site.state.put(LAYOUT.record(*only_records, RECORD), b"")
        await site.state.delete(LAYOUT.upload_meta(*only_records))
        assert await site.found(5.9) == set()
        assert await site.found(6.1) == {without_upload, without_state, only_records}
        assert await site.cleanup(6.1).run() == Swept(3, 0)
        assert (await site.keys(), await site.open()) == (set(), set())

    run(test)


def test_records_without_an_upload_live_as_long_as_the_youngest_of_them(tmp_path: Path) -> None:
    """As a server of the reference leaves them that is about to write its ``.meta`` anew."""

    async def main() -> None:
        store = LocalStore(tmp_path, "bucket", base=str)
        async with opened(Site, (store, store), tmp_path) as site:
            started = await site.start()
            await store.delete(LAYOUT.upload_meta(*started))
            keys = [LAYOUT.record(*started, RECORD.changed(part_number=number)) for number in (1, 2, 3)]
            for key in keys:
                await store.put(key, b"")
            aged = (datetime.now(UTC) - 2 * LIFE).timestamp()
            for key in (keys[0], keys[2]):
                os.utime(tmp_path / "bucket" / key, (aged, aged))
            assert await site.found(0) == set()
            os.utime(tmp_path / "bucket" / keys[1], (aged, aged))
            assert await site.found(0) == {started}

    asyncio.run(main())


def test_nothing_of_others_is_touched(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        name = str(uuid.uuid4())
        others = [f"other/{name}", f"data/sub/{name}", f"data/{name}.bam", "data/notes", name, f"data/{name}x"]
        uploads = [await site.objects.begin(key) for key in others]
        kept = [
            f"upload/{name}/.meta",
            "upload/notes/x",
            f"upload/{name}-1/.meta",
            f"data/{name}",
            f"data/{name}.meta",
        ]
        for key in kept:
            await site.state.put(key, b"x")
        assert await site.found(1000) == set()
        assert await site.cleanup(1000, timedelta()).run() == Swept(0, 0)
        assert await site.keys() == set(kept)
        assert await site.open() == set(uploads)

    run(test)


def test_a_finished_object_stays_when_the_rest_of_its_upload_goes(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        object_id, _ = await site.start()
        await site.objects.put(LAYOUT.object(object_id), b"abc")
        await site.state.put(LAYOUT.meta(object_id), b"{}")
        assert await site.cleanup(7).run() == Swept(1, 0)
        assert await site.keys() == {LAYOUT.object(object_id), LAYOUT.meta(object_id)}

    run(test)


def test_several_servers_clean_up_at_once(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        for _ in range(10):
            started = await site.start()
            await site.state.put(LAYOUT.record(*started, RECORD), b"")
        swept = await asyncio.gather(*[site.cleanup(7).run() for _ in range(4)])
        assert {one.failed for one in swept} == {0}
        assert sum(one.removed for one in swept) >= 10
        assert (await site.keys(), await site.open()) == (set(), set())

    run(test)


@pytest.mark.parametrize("store_kind", [MINIO, "local"])
def test_every_page_is_followed(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        old = [(str(uuid.uuid4()), UploadId(uuid.uuid4().hex)) for _ in range(1100)]
        for start in range(0, len(old), 50):
            metas = [site.state.put(LAYOUT.upload_meta(*one), b"{}") for one in old[start : start + 50]]
            await asyncio.gather(*metas)
        assert await site.found(7) == set(old)
        assert await site.cleanup(7).run() == Swept(1100, 0)
        assert await site.keys() == set()

    run(test)


@pytest.mark.needs("minio")
def test_uploads_that_minio_forgot_to_list_are_found_by_their_state(tmp_path: Path) -> None:
    async def test(minio: Minio) -> None:
        name, _ = make_buckets(minio)
        store = open_stores(settings_of(minio), [name])[name]
        async with opened(Site, (store, store), tmp_path) as site:
            started = await site.start()
            await asyncio.to_thread(minio.kill)
            await asyncio.to_thread(minio.restart)
            assert await site.found(7) == {started}
            assert await site.cleanup(7).run() == Swept(1, 0)
            assert await site.keys() == set()
            with closing(boto(settings_of(minio))) as client:
                left = client.list_multipart_uploads(Bucket=name, Prefix=LAYOUT.object(started[0]))
            assert left.get("Uploads", []) == []

    with running_minio() as minio:
        asyncio.run(test(minio))


class Failing:
    """A store that refuses to drop one upload, and whose listing may fail."""

    def __init__(self, store: ObjectStore, victim: str = "", *, listing: bool = False) -> None:
        self._store = store
        self._victim = victim
        self._listing = listing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def abort(self, key: str, upload: UploadId) -> None:
        if upload == self._victim:
            raise Refused("The store answered 403.")
        await self._store.abort(key, upload)

    async def open_uploads(self) -> AsyncIterator[OpenUpload]:
        if self._listing:
            raise Unavailable("The store answered 503.")
        async for upload in self._store.open_uploads():
            yield upload


def test_one_that_cannot_be_removed_does_not_keep_the_others(
    run: Callable[[Test], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def test(site: Site) -> None:
        started = [await site.start() for _ in range(3)]
        objects: Any = Failing(site.objects, started[1][1])
        failing = Site(objects, site.state, site.registry)
        assert await failing.cleanup(7).run() == Swept(2, 1)
        assert started[1][1] in caplog.text
        assert await site.found(7) == {started[1]}
        lines = [json.loads(record.message) for record in caplog.records if record.name == "score.audit"]
        told = {line["object"] for line in lines if (line["deed"], line["by"]) == ("cancellation", "cleanup")}
        assert told == {started[0][0], started[2][0]}, "and what is gone is told of"
        caplog.clear()

    run(test)


def test_it_runs_by_its_schedule_and_goes_on_after_a_failure(
    run: Callable[[Test], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def test(site: Site) -> None:
        objects: Any = Failing(site.objects, listing=True)
        cleanup = Site(objects, site.state, site.registry).cleanup(0)
        now = [datetime.fromisoformat("2024-02-28T22:00:00")]
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            now[0] += timedelta(seconds=seconds)
            if now[0] > datetime.fromisoformat("2024-03-01T00:01:00"):
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await keep_clean(cleanup, parse("0 0 0 * * ?"), clock=lambda: now[0], sleep=sleep)
        assert max(slept) <= 600
        assert caplog.text.count("Cleanup failed: The store answered 503.") == 2

    run(test)


def test_a_clock_that_was_a_year_ahead_does_not_stop_it_for_a_year(run: Callable[[Test], None]) -> None:
    """It cleans up once more when the clock jumps on, and at the next midnight after the clock is set right."""

    async def test(site: Site) -> None:
        now = [datetime.fromisoformat("2024-02-28T22:00:00")]
        cleaned: list[datetime] = []
        year, jumps = timedelta(days=365), [timedelta(days=365)]

        async def sleep(seconds: float) -> None:
            now[0] += timedelta(seconds=seconds)
            if jumps and now[0] >= datetime.fromisoformat("2024-02-28T23:00:00"):
                now[0] += jumps.pop()
            if now[0].year == 2025 and now[0].hour == 12:
                now[0] -= year
            if now[0].day == 2:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await keep_clean(
                site.cleanup(0), parse("0 0 0 * * ?"), clock=lambda: now[0], sleep=sleep,
                told=lambda swept: cleaned.append(now[0]),
            )  # fmt: skip
        assert [at.date().isoformat() for at in cleaned] == ["2025-02-27", "2025-02-28", "2024-03-01"]

    run(test)


def test_what_is_stale_is_said_in_words() -> None:
    said = str(Stale("o", UploadId("u"), datetime(2024, 2, 29, 1, 2, tzinfo=UTC)))
    assert said == "the upload u of o, begun 2024-02-29 01:02 UTC"
