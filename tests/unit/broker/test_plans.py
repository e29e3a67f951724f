"""What a server remembers of an upload saves calls, and never stands against what the store holds."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from score.broker.access import Access
from score.broker.plans import Known, Plans
from score.broker.state import Layout, Plan
from score.broker.uploads import UploadRules, Uploads
from score.errors import Conflict, NotFound, NotReady
from score.metadata.base import AnalysisState
from score.metadata.embedded import EmbeddedRegistry
from score.protocol.parts import MIB, Span
from score.protocol.wire import FinishedPart
from score.storage.base import ObjectStore, UploadId
from score.storage.local import LocalStore

STUDY = "TEST-CA"
LAYOUT = Layout()
PART = 5 * MIB
DATA = [b"a" * PART, b"the rest"]
MD5 = hashlib.md5(b"".join(DATA)).hexdigest()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@dataclass
class Counted:
    """A store that tells which of its methods were called."""

    store: LocalStore
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self.store, name)
        if callable(inner):
            self.calls.append(name)
        return inner


@dataclass
class Site:
    """A bucket and a registry; ``server()`` is one more server on them."""

    store: LocalStore
    registry: EmbeddedRegistry
    analysis: str = ""

    def __post_init__(self) -> None:
        self.objects, self.state = Counted(self.store), Counted(self.store)

    def server(self) -> Uploads:
        objects, state = cast("ObjectStore", self.objects), cast("ObjectStore", self.state)
        return Uploads(objects, state, Access(self.registry), LAYOUT, UploadRules(PART))

    async def start(self, server: Uploads) -> tuple[str, UploadId, list[str]]:
        file = {"fileName": "f.bam", "fileSize": 0, "fileMd5sum": "0" * 32, "fileAccess": "open"}
        self.analysis = await self.registry.submit(STUDY, {"studyId": STUDY, "files": [file]})
        (found,) = await self.registry.files(STUDY, self.analysis)
        spec = json.loads(await server.start(str(found["objectId"]), PART + len(DATA[1]), MD5))
        return spec["objectId"], UploadId(spec["uploadId"]), [part["url"] for part in spec["parts"]]

    async def put(self, server: Uploads, upload: tuple[str, UploadId, list[str]], number: int, data: bytes) -> None:
        """Send a part and have it recorded by ``server``."""
        object_id, upload_id, urls = upload
        url = urlsplit(urls[number - 1])
        writer = self.store.open_part(self.store.check_url("PUT", url.path.split("/", 3)[3], url.query))
        writer.write([data])
        writer.finish(None)
        self.store.close_part(writer)
        await server.finish_part(object_id, upload_id, number, md5(data), md5(data))

    async def final(self, object_id: str) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(await self.store.get(LAYOUT.meta(object_id))))

    async def keys(self) -> list[str]:
        return [entry.key async for entry in self.store.scan("upload/")]


Test = Callable[[Site], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Test], None]:
    def do(test: Test) -> None:
        async def within() -> None:
            registry = EmbeddedRegistry(tmp_path)
            store = LocalStore(tmp_path, "objects", base=lambda: "http://localhost")
            try:
                await registry.create_study(STUDY, {})
                await test(Site(store, registry))
            finally:
                await registry.close()
                await store.close()

        asyncio.run(within())

    return do


def test_who_proved_every_part_lists_nothing_to_complete(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        server = site.server()
        upload = await site.start(server)
        for number, data in enumerate(DATA, 1):
            await site.put(server, upload, number, data)
        site.objects.calls.clear()
        site.state.calls.clear()
        await server.complete(upload[0], upload[1])
        assert [name for name in site.objects.calls if name != "limits"] == ["complete"]
        assert site.state.calls == ["stat", "put", "delete"]
        assert await site.keys() == []
        final = await site.final(upload[0])
        assert final["objectMd5"] == MD5
        assert [part["sourceMd5"] for part in final["parts"]] == [md5(data) for data in DATA]
        assert [part["url"] for part in final["parts"]] == [None, None]

    run(test)


def test_the_final_document_is_the_same_whoever_completes(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        documents = []
        for stranger in (False, True):
            server = site.server()
            upload = await site.start(server)
            for number, data in enumerate(DATA, 1):
                await site.put(server, upload, number, data)
            await (site.server() if stranger else server).complete(upload[0], upload[1])
            text = (await site.store.get(LAYOUT.meta(upload[0]))).decode()
            documents.append(text.replace(upload[0], "object").replace(upload[1], "upload"))
        assert documents[0] == documents[1]

    run(test)


def test_a_part_that_another_server_replaced_counts_as_the_store_holds_it(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        one, other = site.server(), site.server()
        upload = await site.start(one)
        await site.put(one, upload, 1, DATA[0])
        await site.put(one, upload, 2, DATA[1])
        await site.put(other, upload, 2, b"THE REST")
        await one.complete(upload[0], upload[1])
        assert (await site.final(upload[0]))["parts"][1]["sourceMd5"] == md5(b"THE REST")
        assert await site.keys() == []

    run(test)


def test_a_part_that_another_server_recorded_is_found(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        one, other = site.server(), site.server()
        upload = await site.start(one)
        await site.put(one, upload, 1, DATA[0])
        await site.put(other, upload, 2, DATA[1])
        await one.complete(upload[0], upload[1])
        assert (await site.final(upload[0]))["objectSize"] == PART + len(DATA[1])

    run(test)


def test_an_upload_that_another_server_cancelled_is_not_completed(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        one, other = site.server(), site.server()
        upload = await site.start(one)
        for number, data in enumerate(DATA, 1):
            await site.put(one, upload, number, data)
        await other.cancel(upload[0])
        with pytest.raises(NotFound):
            await one.complete(upload[0], upload[1])

    run(test)


def test_an_upload_that_another_one_replaced_is_not_completed_with_equal_bytes(run: Callable[[Test], None]) -> None:
    """The object of the later upload has the ETag that the parts of the earlier one would make."""

    async def test(site: Site) -> None:
        one, other = site.server(), site.server()
        upload = await site.start(one)
        for number, data in enumerate(DATA, 1):
            await site.put(one, upload, number, data)
        spec = json.loads(await other.start(upload[0], PART + len(DATA[1]), MD5))
        later = upload[0], UploadId(spec["uploadId"]), [part["url"] for part in spec["parts"]]
        for number, data in enumerate(DATA, 1):
            await site.put(other, later, number, data)
        await other.complete(upload[0], later[1])
        with pytest.raises(NotFound):
            await one.complete(upload[0], upload[1])
        assert (await site.final(upload[0]))["uploadId"] == later[1]

    run(test)


def test_a_part_that_was_forgotten_is_missing(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        server = site.server()
        upload = await site.start(server)
        for number, data in enumerate(DATA, 1):
            await site.put(server, upload, number, data)
        await server.forget_part(upload[0], upload[1], 2)
        with pytest.raises(Conflict, match="1 of 2 parts"):
            await server.complete(upload[0], upload[1])

    run(test)


def test_an_analysis_published_meanwhile_takes_no_object(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        server = site.server()
        upload = await site.start(server)
        for number, data in enumerate(DATA, 1):
            await site.put(server, upload, number, data)
        await site.registry.change_state(STUDY, site.analysis, AnalysisState.PUBLISHED)
        with pytest.raises(NotReady):
            await server.complete(upload[0], upload[1])
        assert await site.store.stat(LAYOUT.object(upload[0])) is None

    run(test)


def test_memory_is_bounded() -> None:
    plans = Plans()
    upload = UploadId("u")
    for number in range(1000):
        plans.keep(str(number), upload, Known(Plan.cut([Span(0, 1)]), None))
    assert plans.get("0", upload) is None
    assert plans.get("999", upload) is not None
    large = Known(Plan.cut([Span(at, 1) for at in range(10_000)]), None)
    for number in range(1, 10_001):
        large.record(FinishedPart(part_number=number, md5=MD5, etag=MD5), f"key {number}")
    assert not large.records
    assert not large.keys
    assert not large.whole


def test_many_calls_at_once_read_the_state_of_an_upload_once(run: Callable[[Test], None]) -> None:
    """As after a restart, when the clients of a large upload go on: its state has megabytes."""

    async def test(site: Site) -> None:
        upload = await site.start(site.server())
        server = site.server()
        site.state.calls.clear()
        ends = await asyncio.gather(
            *[server.finish_part(upload[0], upload[1], 1, md5(DATA[0]), md5(DATA[0])) for _ in range(30)],
            return_exceptions=True,
        )
        assert all(isinstance(end, Conflict) for end in ends), "the part was never sent"
        assert site.state.calls.count("get") == 1

    run(test)
