"""Several servers on one pair of buckets, the calls of one upload spread over them at random: nothing differs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
import urllib3

from score.broker.access import Access
from score.broker.blocks import BlockUploads
from score.broker.state import Layout
from score.broker.uploads import UploadRules, Uploads
from score.errors import AlreadyExists, Conflict
from score.metadata.embedded import EmbeddedRegistry
from score.protocol.blocks import UPLOAD_FIELD, block_id
from score.protocol.digests import to_hex
from score.protocol.parts import MIB, Span, cut
from score.storage.azure.client import AzureClient
from score.storage.azure.settings import AzureSettings
from score.storage.azure.store import AzureStore
from score.storage.azure.xml import build_block_list
from score.storage.base import BlockStore, UploadId
from score.testing.azurite import Azurite

from .conftest import LAYOUT, Pair, send


async def register(registry: EmbeddedRegistry) -> str:
    """The object id of a new file."""
    file = {"fileName": "f.bam", "fileSize": 3, "fileMd5sum": "0" * 32, "fileAccess": "open"}
    analysis = await registry.submit("S", {"studyId": "S", "files": [file]})
    return str((await registry.files("S", analysis))[0]["objectId"])


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
        object_id = await register(registry)
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
            assert not await any_server().completed(object_id)
        await any_server().complete(object_id, spec["uploadId"])
        await any_server().complete(object_id, spec["uploadId"])
        assert await any_server().completed(object_id)
        final = json.loads(await pair[1].get(LAYOUT.meta(object_id)))
        assert final["objectSize"] == len(data)
        stat = await pair[0].stat(LAYOUT.object(object_id))
        assert stat is not None
        assert stat.size == len(data)
        assert [entry.key async for entry in pair[1].scan("upload/")] == []

    asyncio.run(test())


@pytest.mark.needs("azurite")
@pytest.mark.parametrize("seed", range(4))
def test_calls_of_one_upload_to_azure_go_to_any_server(azurite: Azurite, tmp_path: Path, seed: int) -> None:
    dice, layout = random.Random(seed), Layout("")
    container = f"shared-{uuid.uuid4().hex[:12]}"
    azurite.create_container(container)
    chosen = AzureSettings(azurite.account, azurite.key, container, endpoint=azurite.endpoint)

    async def test() -> None:
        registry = EmbeddedRegistry(tmp_path)
        await registry.create_study("S", {})
        stores = [AzureStore(AzureClient(chosen)) for _ in range(3)]
        servers = [BlockUploads(store, Access(registry), layout, timedelta(hours=1)) for store in stores]
        try:
            await upload(registry, stores[0], lambda: dice.choice(servers))
        finally:
            await registry.close()
            for store in stores:
                await store.close()

    async def upload(registry: EmbeddedRegistry, store: AzureStore, any_server: Callable[[], BlockUploads]) -> None:
        object_id = await register(registry)
        data = dice.randbytes(10_000)
        spans = cut(Span(0, len(data)), 3000)
        ids = {span: block_id(span.offset, md5_of(data, span)) for span in spans}
        if dice.random() < 0.5:
            await any_server().start(object_id, 7)  # replaced at once, by whichever server
        md5 = hashlib.md5(data).hexdigest()
        spec = json.loads(await any_server().start(object_id, len(data), md5, overwrite=True))
        sent: set[Span] = set()
        while len(sent) < len(spans):
            span = dice.choice(spans)
            progress = await any_server().status(object_id, len(data))
            assert {one.span for one in progress.parts if one.source_md5} == sent
            assert progress.upload_id == spec["uploadId"]
            assert not await any_server().completed(object_id)
            put(dice.choice(progress.parts).url, f"block&blockid={quote(ids[span], safe='')}", piece(data, span))
            sent.add(span)
        with pytest.raises(Conflict, match="not committed"):
            await any_server().complete(object_id, spec["uploadId"])
        put(spec["parts"][0]["url"], "blocklist", build_block_list(ids.values()), upload=spec["uploadId"])
        if dice.random() < 0.5:
            assert await any_server().completed(object_id)  # which ends it, as a completion does
        await any_server().complete(object_id, spec["uploadId"])
        await any_server().complete(object_id, spec["uploadId"])
        assert await any_server().completed(object_id)
        assert azurite.call("GET", f"{container}/{object_id}")[1] == data
        stat = await store.stat(object_id)
        assert stat is not None
        assert to_hex(stat.content_md5) == md5
        assert sorted(azurite.blobs(container)) == sorted([object_id, "heliograph"])

    asyncio.run(test())


class Meanwhile:
    """A store; something happens just before blocks are dropped."""

    def __init__(self, store: AzureStore, happens: Callable[[], None]) -> None:
        self._store = store
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def abort(self, key: str, upload: UploadId) -> None:
        self._happens()
        await self._store.abort(key, upload)


@asynccontextmanager
async def on_azure(azurite: Azurite, folder: Path) -> AsyncIterator[tuple[AzureStore, Access, str]]:
    """A container of its own, who may do what, and an object that is registered."""
    container = f"shared-{uuid.uuid4().hex[:12]}"
    azurite.create_container(container)
    store = AzureStore(AzureClient(AzureSettings(azurite.account, azurite.key, container, endpoint=azurite.endpoint)))
    registry = EmbeddedRegistry(folder)
    await registry.create_study("S", {})
    yield store, Access(registry), await register(registry)
    await registry.close()
    await store.close()


@pytest.mark.needs("azurite")
def test_an_upload_to_azure_that_is_committed_while_another_is_started_is_not_replaced_unasked(
    azurite: Azurite, tmp_path: Path
) -> None:
    async def test() -> None:
        async with on_azure(azurite, tmp_path) as (store, access, object_id):
            layout, data = Layout(""), b"abc"
            md5, block = hashlib.md5(data).hexdigest(), block_id(0, hashlib.md5(data).hexdigest())
            uploads = BlockUploads(store, access, layout, timedelta(hours=1))
            spec = json.loads(await uploads.start(object_id, len(data), md5))
            url = spec["parts"][0]["url"]
            put(url, f"block&blockid={quote(block, safe='')}", data)
            late = Meanwhile(store, lambda: put(url, "blocklist", build_block_list([block]), upload=spec["uploadId"]))
            with pytest.raises(AlreadyExists):
                await BlockUploads(cast("BlockStore", late), access, layout, timedelta(hours=1)).start(object_id, 7)
            await uploads.complete(object_id, spec["uploadId"])
            assert azurite.call("GET", f"{store.name}/{object_id}")[1] == data
            stat = await store.stat(object_id)
            assert stat is not None
            assert to_hex(stat.content_md5) == md5

    asyncio.run(test())


@pytest.mark.needs("azurite")
def test_what_one_upload_to_azure_committed_is_not_taken_for_that_of_another(
    azurite: Azurite, tmp_path: Path
) -> None:
    """Of two that were started at the same moment, for as many bytes, by two servers."""

    async def test() -> None:
        async with on_azure(azurite, tmp_path) as (store, access, object_id):
            layout, data = Layout(""), b"abcdef"
            uploads = BlockUploads(store, access, layout, timedelta(hours=1))
            begun = {}
            for content in (data, data[::-1]):
                spec = json.loads(await uploads.start(object_id, len(data), hashlib.md5(content).hexdigest()))
                key = layout.upload_meta(object_id, spec["uploadId"])
                begun[spec["uploadId"]] = content, spec["parts"][0]["url"], key, await store.get(key)
            winner, loser = sorted(begun)
            for upload in (winner, loser):
                await store.put(*begun[upload][2:])
            content, url, *_ = begun[winner]
            ids = {span: block_id(span.offset, md5_of(content, span)) for span in cut(Span(0, len(content)), 3)}
            for span, block in ids.items():
                put(url, f"block&blockid={quote(block, safe='')}", piece(content, span))
            put(url, "blocklist", build_block_list(ids.values()), upload=winner)
            assert await uploads.completed(object_id)
            await uploads.drop(object_id, UploadId(loser))
            await uploads.complete(object_id, winner)
            stat = await store.stat(object_id)
            assert stat is not None
            assert to_hex(stat.content_md5) == hashlib.md5(content).hexdigest()

    asyncio.run(test())


def piece(data: bytes, span: Span) -> bytes:
    return data[span.offset : span.end]


def md5_of(data: bytes, span: Span) -> str:
    return hashlib.md5(piece(data, span)).hexdigest()


def put(url: str | None, what: str, data: bytes, upload: str = "") -> None:
    """Put a block, or the list of them with the ``upload`` that they are of, by a signed URL."""
    assert url
    headers = {f"x-ms-meta-{UPLOAD_FIELD}": upload} if upload else {}
    assert urllib3.request("PUT", f"{url}&comp={what}", body=data, headers=headers, retries=False).status == 201
