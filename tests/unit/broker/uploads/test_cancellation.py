"""Cancellations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from score.errors import Invalid, NotFound
from score.storage.base import UploadId, stored_part
from score.storage.local import LocalStore
from score.storage.s3.store import S3Store
from score.testing.minio import Minio
from score.testing.s3_contract import boto

from ..conftest import LAYOUT, MINIO, settings_of
from .conftest import Site, Test, Watched, md5, refused, start


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


def test_an_upload_that_is_named_is_cancelled_and_no_other(run: Callable[[Test], None]) -> None:
    """As of a client that finds its file to be another one, while somebody else began to send the right one."""

    async def test(site: Site) -> None:
        uploads, object_id = site.server(), await site.register()
        first = await start(uploads, object_id, 3)
        second = await start(site.server(), object_id, 3)
        with refused(NotFound):
            await uploads.cancel(object_id, first["uploadId"])
        assert (await uploads.status(object_id, 3)).upload_id == second["uploadId"]
        with refused(Invalid):
            await uploads.cancel(object_id, "../x")
        await uploads.cancel(object_id, second["uploadId"])
        assert await site.keys() == []

    run(test)


def test_what_is_cleared_is_not_deleted_again(run: Callable[[Test], None]) -> None:
    """MinIO has one call for all the state of an upload."""

    async def test(site: Site) -> None:
        object_id = await site.register()
        uploads = site.server()
        await site.put_part(uploads, await start(uploads, object_id, 3), 1, b"abc")
        fresh = site.server()
        await fresh.cancel(object_id)
        changes = [name for name in site.watched.calls if name in Watched.CHANGES]
        records_then_meta = ["delete", "delete"] if isinstance(site.state, LocalStore) else []
        assert changes == ["clear", *records_then_meta]
        assert await site.keys() == []

    run(test)


@pytest.mark.parametrize("store_kind", [MINIO])
@pytest.mark.parametrize("gently", [False, True])
def test_no_version_of_the_state_is_left_on_minio(run: Callable[[Test], None], minio: Minio, gently: bool) -> None:
    """Where its bucket keeps versions; after a cleanup, which goes by keys, as after a cancellation."""

    async def test(site: Site) -> None:
        assert isinstance(site.state, S3Store)
        with closing(boto(settings_of(minio))) as client:
            client.put_bucket_versioning(Bucket=site.state.name, VersioningConfiguration={"Status": "Enabled"})
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 3)
            await site.put_part(uploads, spec, 1, b"abc")
            await site.server().drop(object_id, UploadId(spec["uploadId"]), gently=gently)
            left = client.list_object_versions(Bucket=site.state.name, Prefix="upload/")
        assert not left.keys() & {"Versions", "DeleteMarkers"}

    run(test)
