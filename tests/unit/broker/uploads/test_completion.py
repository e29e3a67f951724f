"""Completions: asked for again, too late, and by several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from score.broker.access import Access
from score.broker.uploads import UploadRules, Uploads
from score.broker.work import Work
from score.errors import NotFound, NotReady, Unavailable
from score.testing.minio import Minio
from score.testing.proxy import FaultProxy

from ..conftest import LAYOUT, make_buckets, open_buckets, opened, settings_of
from .conftest import Site, Test, refused, start


def test_completion_is_repeated_only_by_proof(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        await site.put_part(uploads, spec, 1, b"abc")
        await asyncio.gather(*[uploads.complete(object_id, spec["uploadId"]) for _ in range(8)])
        await site.publish()
        await site.server().complete(object_id, spec["uploadId"])
        with refused(NotFound):
            await uploads.complete(object_id, "another")
        await site.objects.delete(LAYOUT.object(object_id))
        with refused(NotFound, "lost"):
            await uploads.complete(object_id, spec["uploadId"])

    run(test)


def test_nothing_is_completed_once_its_analysis_is_published(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        first = await start(uploads, object_id, 3)
        await site.put_part(uploads, first, 1, b"old")
        await uploads.complete(object_id, first["uploadId"])
        second = await start(uploads, object_id, 3, overwrite=True)
        await site.put_part(uploads, second, 1, b"new")
        await site.publish()
        with refused(NotReady):
            await uploads.complete(object_id, second["uploadId"])
        assert (await site.final(object_id))["uploadId"] == first["uploadId"]
        await uploads.complete(object_id, first["uploadId"])

    run(test)


def test_two_servers_complete_at_once(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        object_id = await site.register()
        uploads = site.server()
        spec = await start(uploads, object_id, 3)
        await site.put_part(uploads, spec, 1, b"abc")
        servers = [site.server() for _ in range(4)]
        calls = [server.complete(object_id, spec["uploadId"]) for server in servers]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        # the local store lets one writer in and asks the others to try again
        assert {type(end) for end in ends} <= {type(None), Unavailable}
        for server in servers:
            await server.complete(object_id, spec["uploadId"])
        assert await site.keys() == []

    run(test)


@pytest.mark.needs("minio")
def test_a_completion_that_takes_long_goes_on_and_may_be_asked_for_elsewhere(minio: Minio, tmp_path: Path) -> None:
    async def test(proxy: FaultProxy, names: list[str]) -> None:
        slow = open_buckets(replace(settings_of(minio), endpoint=proxy.url), names)
        fast = open_buckets(settings_of(minio), names)
        async with opened(Site, fast, tmp_path) as site, AsyncExitStack() as stack:
            for store in slow:
                stack.push_async_callback(store.close)
            held = Uploads(*slow, Access(site.registry), LAYOUT, UploadRules(), completions=Work(hold=0))
            object_id = await site.register()
            spec = await start(site.server(), object_id, 3)
            await site.put_part(site.server(), spec, 1, b"abc")
            gate = proxy.traffic.hold(method="POST", query="uploadId=")
            with refused(Unavailable, "under way"):
                await held.complete(object_id, spec["uploadId"])
            await asyncio.to_thread(gate.wait_for_arrival)
            with refused(Unavailable, "under way"):
                await held.complete(object_id, spec["uploadId"])
            await site.server().complete(object_id, spec["uploadId"])
            gate.open()
            for _ in range(100_000):
                try:
                    await held.complete(object_id, spec["uploadId"])
                    break
                except Unavailable as error:
                    assert error.retry_after  # noqa: PT017
                    await asyncio.sleep(0)
            assert (await site.final(object_id))["uploadId"] == spec["uploadId"]
            assert await site.keys() == []
            posts = proxy.traffic.seen(method="POST", query="uploadId=")
            assert len(posts) == 1, "however often it was asked for"

    with FaultProxy(minio.endpoint) as proxy:
        asyncio.run(test(proxy, make_buckets(minio)))
