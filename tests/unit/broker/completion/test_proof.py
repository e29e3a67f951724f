"""An object is proof of its upload only where its size and its time are right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from score.errors import Integrity, NotFound
from score.storage.base import ObjectStat, StoredPart, UploadId
from score.storage.local import LocalStore
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import S3Store
from score.testing.minio import Minio
from score.testing.s3_contract import boto

from ..conftest import LAYOUT, opened
from .conftest import DATA, PART, SIZE, Site, md5, open_encrypting


class Short(LocalStore):
    """A store that says of an object it has just made that a byte is missing."""

    async def complete(
        self, key: str, upload: UploadId, parts: Sequence[StoredPart], replacing: bool = True
    ) -> ObjectStat:
        made = await super().complete(key, upload, parts, replacing)
        return replace(made, size=made.size - 1)


class Encrypting(LocalStore):
    """A store that encrypts with the keys of a service, and makes the MD5s of what it was sent ETags all the same, as
    Ceph does."""

    async def complete(
        self, key: str, upload: UploadId, parts: Sequence[StoredPart], replacing: bool = True
    ) -> ObjectStat:
        return replace(await super().complete(key, upload, parts, replacing), opaque=True)


def put_as_other_stores(store: S3Store, minio: Minio, key: str, data: bytes, age: timedelta) -> None:
    """An object of as many parts, whose ETag says nothing of theirs, as Amazon S3 makes it under KMS keys."""
    client = boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))

    def date(request: Any, **_: Any) -> None:
        request.headers["X-Minio-Source-Replication-Request"] = "true"
        request.headers["X-Minio-Source-Mtime"] = f"{datetime.now(UTC) - age:%Y-%m-%dT%H:%M:%SZ}"
        request.headers["X-Minio-Source-Etag"] = f"{md5(data)}-{len(DATA)}"

    client.meta.events.register("before-sign.s3.PutObject", date)
    client.put_object(Bucket=store.name, Key=key, Body=data)
    client.close()


@pytest.mark.needs("minio")
@pytest.mark.parametrize("by", ["setting", "bucket"])
@pytest.mark.parametrize("age", [timedelta(), timedelta(minutes=1), timedelta(days=1)], ids=["new", "older", "old"])
def test_an_object_from_before_the_upload_is_no_proof_of_it(
    encrypting: Minio, tmp_path: Path, age: timedelta, by: str
) -> None:
    """The upload is gone, an object of the same size and number of parts is there: its time tells whose it is."""

    async def test() -> None:
        objects, state = open_encrypting(encrypting, by)
        assert isinstance(objects, S3Store)
        async with opened(Site, (objects, state), tmp_path) as site:
            upload = await site.upload()
            key = LAYOUT.object(upload.object_id)
            put_as_other_stores(objects, encrypting, key, b"".join(DATA), age)
            await objects.abort(key, upload.id)
            parts = [StoredPart(1, PART, "0" * 32), StoredPart(2, len(DATA[1]), "1" * 32)]
            assert (await objects.complete(key, upload.id, parts)).size == SIZE, "all that the store itself can tell"
            if not age:
                await upload.complete()
                await upload.check_complete()
                return
            with pytest.raises(NotFound):
                await upload.complete()
            await site.server().cancel(upload.object_id)
            assert await upload.final() is None

    asyncio.run(test())


@pytest.mark.parametrize("same_server", [True, False])
def test_an_object_of_another_size_than_its_parts_is_no_success(tmp_path: Path, same_server: bool) -> None:
    async def main() -> None:
        objects = Short(tmp_path, "object", base=lambda: "http://x")
        state = LocalStore(tmp_path, "state", base=str)
        async with opened(Site, (objects, state), tmp_path) as site:
            upload, server = await site.start(await site.register(SIZE)), site.server()
            for number, piece in enumerate(DATA, 1):
                etag = await upload.send(number, piece)
                await server.finish_part(upload.object_id, upload.id, number, md5(piece), etag)
            with pytest.raises(Integrity, match=f"{SIZE - 1} bytes"):
                await (server if same_server else site.server()).complete(upload.object_id, upload.id)
            assert await upload.final() is None

    asyncio.run(main())


def test_an_etag_that_the_md5s_of_the_parts_make_is_proof_of_them_whatever_encrypts_it(tmp_path: Path) -> None:
    """A small file has no state that would tell when its upload began."""

    async def main() -> None:
        objects = Encrypting(tmp_path, "object", base=lambda: "http://x")
        state = LocalStore(tmp_path, "state", base=str)
        async with opened(Site, (objects, state), tmp_path) as site:
            document = await site.server().start(await site.register(), 3, md5(b"abc"), afresh=True)
            upload = site.upload_of(json.loads(document))
            told = upload.object_id, upload.id, 1, md5(b"abc"), await upload.send(1, b"abc")
            assert await site.server().finish_part(*told, size=3, complete=True)
            final = await upload.final()
            assert final is not None
            assert final["uploadId"] == upload.id

    asyncio.run(main())
