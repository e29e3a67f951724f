"""Cancellations."""

from __future__ import annotations

from collections.abc import Callable

from score.errors import NotFound
from score.storage.base import UploadId, stored_part

from .conftest import LAYOUT, Site, Test, md5, refused, start


def test_cancel_all(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        ids = [await site.register() for _ in range(3)]
        specs = [await start(uploads, object_id, 3) for object_id in ids]
        await site.state.put("upload/of-another-program", b"kept")
        assert await uploads.cancel_all() == 3
        assert await site.keys() == ["upload/of-another-program"]
        for object_id, spec in zip(ids, specs, strict=True):
            with refused(NotFound):
                await stored_part(site.objects, LAYOUT.object(object_id), UploadId(spec["uploadId"]), 1)

    run(test)


def test_a_cancellation_by_another_server_is_noticed(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        await site.server().cancel(object_id)
        with refused(NotFound):
            await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc"))
        with refused(NotFound):
            await uploads.complete(object_id, spec["uploadId"])

    run(test)
