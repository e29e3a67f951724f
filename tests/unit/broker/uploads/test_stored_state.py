"""State that others wrote, and state that is broken."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from score.broker.begun import youngest
from score.errors import Conflict
from score.protocol.wire import FinishedPart, Part, Specification, to_json
from score.storage.local import LocalStore

from ..conftest import LAYOUT
from .conftest import MIB, Site, Test, md5, refused, start


def test_two_records_of_one_part_as_the_reference_leaves_them(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        await site.put_part(uploads, spec, 1, b"new")
        old = FinishedPart(part_number=1, md5=md5(b"old"), etag=md5(b"old"))
        await site.state.put(LAYOUT.record(object_id, spec["uploadId"], old), b"")
        fresh = site.server()
        assert (await fresh.status(object_id, 3)).parts[0].source_md5 == md5(b"new")
        await fresh.complete(object_id, spec["uploadId"])
        assert (await site.final(object_id))["parts"][0]["sourceMd5"] == md5(b"new")
        assert await site.keys() == []

    run(test)


def test_state_written_by_the_reference_is_gone_on_with(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        object_id = await site.register()
        upload = await site.objects.begin(LAYOUT.object(object_id))
        parts = [
            Part(part_number=1, part_size=20 * MIB, offset=0, url="http://store/old"),
            Part(part_number=2, part_size=5, offset=20 * MIB, url="http://store/old"),
        ]
        document = Specification(
            object_key=LAYOUT.object(object_id), object_id=object_id, upload_id=upload, parts=parts,
            object_size=20 * MIB + 5,
        )  # fmt: skip
        await site.state.put(LAYOUT.upload_meta(object_id, upload), to_json(document))
        uploads = site.server()
        progress = await uploads.status(object_id, 20 * MIB + 5)
        assert [part.source_md5 for part in progress.parts] == [None, None]
        spec = json.loads(to_json(progress))
        await site.put_part(uploads, spec, 2, b"12345")
        await site.put_part(uploads, spec, 1, bytes(20 * MIB))
        await uploads.complete(object_id, upload)
        assert await uploads.completed(object_id)

    run(test)


@pytest.mark.parametrize(
    "document",
    [
        b"{}",
        b"not json",
        b'{"objectKey":"k","objectId":"o","uploadId":"%s","objectSize":3,"objectMd5":null,"parts":[]}',
        b'{"objectKey":"k","objectId":"o","uploadId":"%s","objectSize":3,"objectMd5":null,'
        b'"parts":[{"partNumber":2,"partSize":3,"offset":0,"url":null,"md5":null}]}',
        b'{"objectKey":"k","objectId":"o","uploadId":"another","objectSize":3,"objectMd5":null,'
        b'"parts":[{"partNumber":1,"partSize":3,"offset":0,"url":null,"md5":null}]}',
    ],
)
def test_broken_state_is_named_and_can_be_started_over(run: Callable[[Test], None], document: bytes) -> None:
    async def test(site: Site) -> None:
        object_id = await site.register()
        spec = await start(site.server(), object_id, 3)
        key = LAYOUT.upload_meta(object_id, spec["uploadId"])
        await site.state.put(key, document.replace(b"%s", spec["uploadId"].encode()))
        uploads = site.server()
        for call in (
            uploads.status(object_id, 3),
            uploads.complete(object_id, spec["uploadId"]),
            uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc")),
        ):
            with refused(Conflict, r"\.meta"):
                await call
        again = await start(uploads, object_id, 3)
        await site.put_part(uploads, again, 1, b"abc")
        await uploads.complete(object_id, again["uploadId"])

    run(test)


def test_a_broken_record_is_named(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        object_id = await site.register()
        uploads = site.server()
        spec = await start(uploads, object_id, 3)
        await site.state.put(f'{LAYOUT.folder(object_id, spec["uploadId"])}part-00000001|{{"x":1}}', b"")
        with refused(Conflict, "record"):
            await uploads.status(object_id, 3)
        await site.put_part(uploads, spec, 1, b"abc")  # sending the part again mends it
        await uploads.complete(object_id, spec["uploadId"])

    run(test)


@pytest.mark.parametrize("ages", [(60, 3600), (3600, 60)])
def test_of_several_uploads_in_progress_the_youngest_counts(tmp_path: Path, ages: tuple[int, int]) -> None:
    state, object_id = LocalStore(tmp_path, "state", base=str), str(uuid.uuid4())
    uploads = {age: name * 32 for age, name in zip(ages, "ab", strict=True)}

    async def find() -> str | None:
        for age, upload in uploads.items():
            key = LAYOUT.upload_meta(object_id, upload)
            await state.put(key, b"{}")
            os.utime(tmp_path / "state" / key, (2e9 - age, 2e9 - age))
        await state.put(LAYOUT.folder(object_id, "c" * 32) + "part-00000001|{}", b"")  # begun, and cancelled by half
        try:
            return await youngest(state, LAYOUT, object_id)
        finally:
            await state.close()

    assert asyncio.run(find()) == uploads[60]
