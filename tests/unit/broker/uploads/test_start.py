"""What may be started, and what was not."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, cast

import pytest

from score.errors import AlreadyExists, Conflict, Invalid, NotFound, NotReady
from score.storage.base import ObjectStat, ObjectStore, UploadId, stored_part

from ..conftest import LAYOUT
from .conftest import Site, Test, md5, refused, start


def test_an_upload_that_nobody_started(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        for call in (
            uploads.finish_part(object_id, "deadbeef", 1, md5(b""), md5(b"")),
            uploads.forget_part(object_id, "deadbeef", 1),
            uploads.complete(object_id, "deadbeef"),
            uploads.status(object_id, 3),
            uploads.recover(object_id, 3),
            uploads.cancel(object_id),
        ):
            with refused(NotFound):
                await call
        for call in (
            uploads.complete(object_id, "../x"),
            uploads.finish_part(object_id, "a b", 1, md5(b""), md5(b"")),
        ):
            with refused(Invalid):
                await call
        with refused(Invalid, "no object id|not an object id"):
            await uploads.complete("not-a-uuid", "deadbeef")

    run(test)


@pytest.mark.parametrize("size", [-1, 5 * 1024**4 + 1])
def test_sizes_that_cannot_be(run: Callable[[Test], None], size: int) -> None:
    async def test(site: Site) -> None:
        with refused(Invalid, "fileSize"):
            await site.server().start(await site.register(), size)

    run(test)


def test_what_may_not_be_started(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        with refused(NotFound):
            await uploads.start(str(uuid.uuid4()), 3)
        object_id = await site.register()
        with refused(Invalid, "MD5"):
            await uploads.start(object_id, 3, "nonsense")
        await site.publish()
        with refused(NotReady, "PUBLISHED, not UNPUBLISHED"):
            await uploads.start(object_id, 3)
        other = await site.register()
        await site.objects.put(LAYOUT.object(other), b"put there by another tool")
        with refused(AlreadyExists):
            await uploads.start(other, 3)
        assert (await start(uploads, other, 3, overwrite=True))["objectId"] == other

    run(test)


def test_a_second_start_replaces_the_first(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        first = await start(uploads, object_id, 3)
        await site.put_part(uploads, first, 1, b"abc")
        second = await start(site.server(), object_id, 4)
        for server in (uploads, site.server()):
            with refused(NotFound):
                await server.complete(object_id, first["uploadId"])
            with refused(NotFound):
                await server.finish_part(object_id, first["uploadId"], 1, md5(b"abc"), md5(b"abc"))
        with refused(Conflict, "of 4 bytes, not 3"):
            await uploads.status(object_id, 3)
        assert (await uploads.status(object_id, 4)).upload_id == second["uploadId"]
        with refused(NotFound):
            await stored_part(site.objects, LAYOUT.object(object_id), UploadId(first["uploadId"]), 1)

    run(test)


class Meanwhile:
    """A store; something happens just before the second look at an object."""

    def __init__(self, store: ObjectStore, happens: Callable[[], Any]) -> None:
        self._store = store
        self._happens = happens
        self._looks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def stat(self, key: str) -> ObjectStat | None:
        self._looks += 1
        if self._looks == 2:
            await self._happens()
        return await self._store.stat(key)


def test_an_upload_that_ends_while_another_is_started_is_not_replaced_unasked(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        first, object_id = site.server(), await site.register()
        begun = await start(first, object_id, 3)
        await site.put_part(first, begun, 1, b"abc")
        objects = Meanwhile(site.objects, lambda: first.complete(object_id, begun["uploadId"]))
        other = Site(cast("ObjectStore", objects), site.state, site.registry)
        with refused(AlreadyExists, "exists"):
            await start(other.server(), object_id, 4)
        assert await site.keys() == []
        assert [upload async for upload in site.objects.open_uploads()] == []
        assert await site.objects.get(LAYOUT.object(object_id)) == b"abc"
        assert (await site.final(object_id))["uploadId"] == begun["uploadId"]

    run(test)
