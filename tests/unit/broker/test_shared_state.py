"""Several servers on one pair of buckets, the calls of one upload spread over them at random: nothing differs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
import urllib3

from score.broker.access import Access
from score.broker.state import Layout
from score.broker.uploads import UploadRules, Uploads
from score.metadata.embedded import EmbeddedRegistry
from score.protocol.parts import MIB
from score.storage.base import ObjectStore
from score.storage.local import LocalStore
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import open_stores
from score.testing.minio import Minio

LAYOUT = Layout()
Pair = tuple[ObjectStore, ObjectStore]


@pytest.fixture(params=[pytest.param("minio", marks=pytest.mark.needs("minio")), "local"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Pair]:
    """Opens the same two buckets as another server does."""
    names = [f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("object", "state")]
    if request.param == "local":

        def disk() -> Pair:
            first, second = (LocalStore(tmp_path, name, base=lambda: "http://x") for name in names)
            return first, second

        return disk
    minio: Minio = request.getfixturevalue("minio")
    keys = {"aws_access_key_id": minio.access_key, "aws_secret_access_key": minio.secret_key}
    client = boto3.client("s3", endpoint_url=minio.endpoint, region_name="us-east-1", **keys)
    for name in names:
        client.create_bucket(Bucket=name)

    def bucket() -> Pair:
        chosen = S3Settings(endpoint=minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key)
        stores = open_stores(chosen, names)
        return stores[names[0]], stores[names[1]]

    return bucket


async def send(store: ObjectStore, url: str, data: bytes) -> None:
    if isinstance(store, LocalStore):
        parts = urlsplit(url)
        writer = store.open_part(store.check_url("PUT", parts.path.split("/", 3)[3], parts.query))
        writer.write([data])
        writer.finish(None)
        store.close_part(writer)
        return
    with urllib3.PoolManager(retries=False) as http:
        assert http.request("PUT", url, body=data).status == 200


@pytest.mark.parametrize("seed", range(4))
def test_calls_of_one_upload_go_to_any_server(opening: Callable[[], Pair], tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)

    async def test() -> None:
        registry = EmbeddedRegistry(tmp_path)
        await registry.create_study("S", {})
        pairs = [opening() for _ in range(3)]
        servers = [Uploads(*pair, Access(registry), LAYOUT, UploadRules(5 * MIB)) for pair in pairs]
        try:
            await upload(registry, pairs[0], lambda: dice.choice(servers))
        finally:
            await registry.close()
            for pair in pairs:
                for store in pair:
                    await store.close()

    async def upload(registry: EmbeddedRegistry, pair: Pair, any_server: Callable[[], Uploads]) -> None:
        file = {"fileName": "f.bam", "fileSize": 3, "fileMd5sum": "0" * 32, "fileAccess": "open"}
        analysis = await registry.submit("S", {"studyId": "S", "files": [file]})
        object_id = str((await registry.files("S", analysis))[0]["objectId"])
        data = dice.randbytes(5 * MIB) + dice.randbytes(5 * MIB) + b"end"
        if dice.random() < 0.5:
            await any_server().start(object_id, 7)  # replaced at once, by whichever server
        spec = json.loads(await any_server().start(object_id, len(data), overwrite=True))
        sent: set[int] = set()
        while len(sent) < 3:
            number = dice.randint(1, 3)
            part = spec["parts"][number - 1]
            piece = data[part["offset"] : part["offset"] + part["partSize"]]
            await send(pair[0], part["url"], piece)
            md5 = hashlib.md5(piece).hexdigest()
            for _ in range(dice.randint(1, 2)):
                await any_server().finish_part(object_id, spec["uploadId"], number, md5, md5)
            sent.add(number)
            if dice.random() < 0.3:
                await any_server().forget_part(object_id, spec["uploadId"], number)
                sent.discard(number)
            progress = await any_server().status(object_id, len(data))
            assert {one.part_number for one in progress.parts if one.source_md5} == sent
            assert not await any_server().exists(object_id)
        await any_server().complete(object_id, spec["uploadId"])
        await any_server().complete(object_id, spec["uploadId"])
        assert await any_server().exists(object_id)
        final = json.loads(await pair[1].get(LAYOUT.meta(object_id)))
        assert final["objectSize"] == len(data)
        stat = await pair[0].stat(LAYOUT.object(object_id))
        assert stat is not None
        assert stat.size == len(data)
        assert [entry.key async for entry in pair[1].scan("upload/")] == []

    asyncio.run(test())
