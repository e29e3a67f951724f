"""Uploads on real stores: what is recorded, what is refused, and that a crash between any two steps is recovered."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import boto3
import pytest
import urllib3

from score.broker.access import Access
from score.broker.state import Layout
from score.broker.uploads import UploadRules, Uploads
from score.broker.work import Work
from score.errors import AlreadyExists, Conflict, Integrity, Invalid, NotFound, NotReady, ScoreError, Unavailable
from score.metadata.base import AnalysisState
from score.metadata.embedded import EmbeddedRegistry
from score.protocol.wire import FinishedPart, Part, Specification, to_json
from score.storage.base import ObjectStore, StoredPart, UploadId, stored_part
from score.storage.local import LocalStore
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import open_stores
from score.testing.minio import Minio
from score.testing.proxy import FaultProxy

MIB = 1024 * 1024
STUDY = "TEST-CA"
LAYOUT = Layout()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Crash(Exception):
    """The server dies."""


@dataclass
class Watched:
    """A store that counts its calls and dies at a chosen change, just before or just after it is made."""

    store: ObjectStore
    calls: list[str] = field(default_factory=list)
    changes: int = 0
    die_at: int = 0
    after: bool = False

    CHANGES = ("put", "delete", "clear", "begin", "complete", "abort")

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self.store, name)
        if name in self.CHANGES:
            return lambda *args: self._change(name, inner, *args)
        if callable(inner):
            self.calls.append(name)
        return inner

    async def _change(self, name: str, inner: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        self.calls.append(name)
        self.changes += 1
        number = self.changes
        if self.die_at and (number > self.die_at or (number == self.die_at and not self.after)):
            raise Crash  # and whatever else was to follow
        result = await inner(*args)
        if number == self.die_at:
            raise Crash
        return result


@dataclass
class Site:
    """Two buckets and a registry; ``server()`` is a fresh server on them, with nothing in memory."""

    objects: ObjectStore
    state: ObjectStore
    registry: EmbeddedRegistry

    def server(self, part_size: int = 5 * MIB, *, die_at: int = 0, after: bool = False) -> Uploads:
        self.watched = Watched(self.state, die_at=die_at, after=after)
        objects = self.watched
        if self.objects is not self.state:
            objects = Watched(self.objects)
        self.watched_objects = objects
        rules = UploadRules(part_size, timedelta(days=1))
        access = Access(self.registry)
        return Uploads(cast("ObjectStore", objects), cast("ObjectStore", self.watched), access, LAYOUT, rules)

    async def register(self, size: int = 0) -> str:
        """The object id of a new file of an unpublished analysis."""
        file = {"fileName": "f.bam", "fileSize": size, "fileMd5sum": "0" * 32, "fileAccess": "open"}
        self.analysis = await self.registry.submit(STUDY, {"studyId": STUDY, "files": [file]})
        (found,) = await self.registry.files(STUDY, self.analysis)
        return str(found["objectId"])

    async def publish(self) -> None:
        await self.registry.change_state(STUDY, self.analysis, AnalysisState.PUBLISHED)

    async def send(self, part: dict[str, Any], data: bytes) -> None:
        """PUT the bytes of a part to its URL."""
        if isinstance(self.objects, LocalStore):
            store = self.objects
            grant = store.check_url("PUT", urlsplit(part["url"]).path.split("/", 3)[3], urlsplit(part["url"]).query)
            writer = store.open_part(grant)
            try:
                writer.write([data])
                writer.finish(None)
            finally:
                store.close_part(writer)
        else:
            with urllib3.PoolManager(retries=False) as http:
                answer = http.request("PUT", part["url"], body=data)
                assert answer.status == 200, answer.data

    async def put_part(self, uploads: Uploads, spec: dict[str, Any], number: int, data: bytes) -> None:
        """Send a part and have it recorded."""
        await self.send(spec["parts"][number - 1], data)
        await uploads.finish_part(spec["objectId"], spec["uploadId"], number, md5(data), md5(data))

    async def keys(self, prefix: str = "upload/") -> list[str]:
        return [entry.key async for entry in self.state.scan(prefix)]

    async def final(self, object_id: str) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(await self.state.get(LAYOUT.meta(object_id))))


Test = Callable[[Site], Awaitable[None]]


def create_buckets(minio: Minio, names: list[str]) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=minio.endpoint,
        aws_access_key_id=minio.access_key,
        aws_secret_access_key=minio.secret_key,
        region_name="us-east-1",
    )
    for name in names:
        client.create_bucket(Bucket=name)


@pytest.fixture(params=[pytest.param("minio", marks=pytest.mark.needs("minio")), "local"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Test], None]:
    """Runs a coroutine function on a site of its own."""

    def opened() -> tuple[ObjectStore, ObjectStore]:
        if request.param == "local":
            first, second = (LocalStore(tmp_path, name, base=lambda: "http://x") for name in ("object", "state"))
            return first, second
        minio = request.getfixturevalue("minio")
        keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
        names = [f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("object", "state")]
        create_buckets(minio, names)
        stores = open_stores(S3Settings(endpoint=minio.endpoint, **keys), names)
        return stores[names[0]], stores[names[1]]

    def go(test: Test) -> None:
        async def main() -> None:
            objects, state = opened()
            registry = EmbeddedRegistry(tmp_path)
            await registry.create_study(STUDY, {})
            try:
                await test(Site(objects, state, registry))
            finally:
                for one in (registry, objects, state):
                    await one.close()

        asyncio.run(main())

    return go


async def start(uploads: Uploads, object_id: str, size: int, **more: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(await uploads.start(object_id, size, **more)))


def refused(kind: type[ScoreError], match: str | None = None) -> Any:
    return pytest.raises(kind, match=match)


def test_an_upload_in_any_order_of_parts(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        data = [b"a" * 5 * MIB, b"b" * 5 * MIB, b"c" * 7]
        whole = b"".join(data)
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, len(whole), md5=md5(whole))
        assert [(part["offset"], part["partSize"]) for part in spec["parts"]] == [
            (0, 5 * MIB), (5 * MIB, 5 * MIB), (10 * MIB, 7),
        ]  # fmt: skip
        for number in (3, 1, 2):
            assert not await uploads.exists(object_id)
            await site.put_part(uploads, spec, number, data[number - 1])
        progress = await uploads.status(object_id, len(whole))
        assert [(part.md5, part.source_md5) for part in progress.parts] == [(md5(one), md5(one)) for one in data]
        await uploads.complete(object_id, spec["uploadId"])
        assert await uploads.exists(object_id)
        assert await site.keys() == []
        final = await site.final(object_id)
        assert [(part["url"], part["sourceMd5"]) for part in final["parts"]] == [(None, md5(one)) for one in data]
        assert (final["objectSize"], final["objectMd5"]) == (len(whole), md5(whole))
        stat = await site.objects.stat(LAYOUT.object(object_id))
        assert stat is not None
        assert stat.size == len(whole)

    run(test)


def test_an_empty_file_goes_to_the_end(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 0)
        assert [(part["partNumber"], part["partSize"]) for part in spec["parts"]] == [(1, 0)]
        await site.put_part(uploads, spec, 1, b"")
        await uploads.complete(object_id, spec["uploadId"])
        stat = await site.objects.stat(LAYOUT.object(object_id))
        assert stat is not None
        assert stat.size == 0

    run(test)


def test_a_part_sent_again_replaces_its_record(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        await site.put_part(uploads, spec, 1, b"old")
        await site.put_part(uploads, spec, 1, b"old")
        with refused(Conflict, "another ETag"):
            await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"new"), md5(b"new"))
        await site.put_part(uploads, spec, 1, b"new")
        assert (await uploads.status(object_id, 3)).parts[0].source_md5 == md5(b"new")
        (record,) = [key for key in await site.keys() if "/part-" in key]
        assert md5(b"new") in record
        await uploads.complete(object_id, spec["uploadId"])
        assert (await site.final(object_id))["parts"][0]["sourceMd5"] == md5(b"new")

    run(test)


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
        assert await uploads.exists(object_id)

    run(test)


@pytest.mark.parametrize(
    ("number", "given", "etag", "kind", "why"),
    [
        (1, md5(b"abc"), md5(b"xyz"), Conflict, "another ETag"),
        (1, "f" * 32, md5(b"abc"), Conflict, "another MD5"),
        (1, "no md5", md5(b"abc"), Invalid, "md5"),
        (1, md5(b"abc"), f'"{md5(b"abc")}"', Invalid, "etag"),
        (0, md5(b"abc"), md5(b"abc"), Invalid, "partNumber 0"),
        (2, md5(b"abc"), md5(b"abc"), Invalid, "partNumber 2"),
        (10_001, md5(b"abc"), md5(b"abc"), Invalid, "partNumber 10001"),
    ],
)
def test_parts_that_are_refused(
    run: Callable[[Test], None], number: int, given: str, etag: str, kind: type[ScoreError], why: str
) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        await site.send(spec["parts"][0], b"abc")
        with refused(kind, why):
            await uploads.finish_part(object_id, spec["uploadId"], number, given, etag)
        assert [key for key in await site.keys() if "/part-" in key] == []

    run(test)


def test_a_part_that_the_store_does_not_hold(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        with refused(Conflict, "not in the store"):
            await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc"))
        with refused(Conflict, "1 of 1 parts are not finished"):
            await uploads.complete(object_id, spec["uploadId"])

    run(test)


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
        keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
        slow = open_stores(S3Settings(endpoint=proxy.url, **keys), names)
        fast = open_stores(S3Settings(endpoint=minio.endpoint, **keys), names)
        registry = EmbeddedRegistry(tmp_path)
        await registry.create_study(STUDY, {})
        site = Site(fast[names[0]], fast[names[1]], registry)
        work = Work(hold=0)
        held = Uploads(slow[names[0]], slow[names[1]], Access(registry), LAYOUT, UploadRules(), completions=work)
        try:
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
        finally:
            for one in (registry, *slow.values(), *fast.values()):
                await one.close()

    names = [f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("object", "state")]
    create_buckets(minio, names)
    with FaultProxy(minio.endpoint) as proxy:
        asyncio.run(test(proxy, names))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("die_at", range(1, 4))
def test_a_crash_during_completion_is_recovered(run: Callable[[Test], None], die_at: int, after: bool) -> None:
    async def test(site: Site) -> None:
        object_id = await site.register()
        first = site.server()
        spec = await start(first, object_id, 5 * MIB + 1)
        await site.put_part(first, spec, 2, b"z")
        await site.put_part(first, spec, 1, bytes(5 * MIB))
        # one bucket for both, so that every change of either counts
        one = Site(site.objects, site.objects, site.registry)
        for key in await site.keys():
            await site.objects.put(key, await site.state.get(key))
        crashing = one.server(die_at=die_at, after=after)
        with pytest.raises(Crash):
            await crashing.complete(object_id, spec["uploadId"])
        await one.server().complete(object_id, spec["uploadId"])
        assert await one.keys() == []
        assert (await one.final(object_id))["uploadId"] == spec["uploadId"]
        stat = await site.objects.stat(LAYOUT.object(object_id))
        assert stat is not None
        assert stat.size == 5 * MIB + 1

    run(test)


def test_the_number_of_crash_points_is_the_number_of_changes(run: Callable[[Test], None]) -> None:
    """The test above dies at every change of a completion: complete, put, and the deletion."""

    async def test(site: Site) -> None:
        object_id = await site.register()
        one = Site(site.objects, site.objects, site.registry)
        uploads = one.server()
        spec = await start(uploads, object_id, 3)
        await one.put_part(uploads, spec, 1, b"abc")
        fresh = one.server()
        await fresh.complete(object_id, spec["uploadId"])
        assert one.watched.changes == 3

    run(test)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("die_at", range(1, 7))
def test_a_crash_during_a_start_is_recovered(run: Callable[[Test], None], die_at: int, after: bool) -> None:
    async def test(site: Site) -> None:
        object_id = await site.register()
        one = Site(site.objects, site.objects, site.registry)
        uploads = one.server()
        old = await start(uploads, object_id, 3)
        await one.put_part(uploads, old, 1, b"abc")
        with pytest.raises(Crash):
            await one.server(die_at=die_at, after=after).start(object_id, 4)
        fresh = one.server()
        spec = await start(fresh, object_id, 4)
        assert (await fresh.status(object_id, 4)).upload_id == spec["uploadId"]
        await one.put_part(fresh, spec, 1, b"defg")
        await fresh.complete(object_id, spec["uploadId"])
        assert await one.keys() == []

    run(test)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("die_at", range(1, 5))
def test_a_crash_during_a_cancellation_is_recovered(run: Callable[[Test], None], die_at: int, after: bool) -> None:
    async def test(site: Site) -> None:
        object_id = await site.register()
        one = Site(site.objects, site.objects, site.registry)
        uploads = one.server()
        spec = await start(uploads, object_id, 3)
        await one.put_part(uploads, spec, 1, b"abc")
        with pytest.raises(Crash):
            await one.server(die_at=die_at, after=after).cancel(object_id)
        fresh = one.server()
        try:
            await fresh.cancel(object_id)
        except NotFound:
            assert await one.keys() == [], "the upload is gone as soon as its .meta is, and that goes last"
        await start(fresh, object_id, 3)
        assert len(await one.keys()) == 1

    run(test)


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


def test_finishing_a_part_costs_the_same_however_many_there_are(run: Callable[[Test], None]) -> None:
    async def test(site: Site) -> None:
        costs = []
        for count in (1, 10_000):
            uploads = site.server()
            object_id = await site.register()
            spec = await start(uploads, object_id, 5 * MIB * (count - 1) + 3)
            assert len(spec["parts"]) == count
            await site.send(spec["parts"][-1], b"abc")
            fresh = site.server()
            calls, object_calls = site.watched.calls, site.watched_objects.calls
            for _ in range(2):  # the plan is read once, then remembered
                calls.clear()
                object_calls.clear()
                await fresh.finish_part(object_id, spec["uploadId"], count, md5(b"abc"), md5(b"abc"))
            costs.append((sorted(calls), sorted(object_calls)))
        assert costs[0] == costs[1]
        assert "get" not in costs[0][0]

    run(test)


def test_parts_that_are_finished_at_once_share_looks_at_the_store(run: Callable[[Test], None]) -> None:
    """And are judged each by itself."""

    async def test(site: Site) -> None:
        uploads = site.server()
        object_id = await site.register()
        count = 20
        spec = await start(uploads, object_id, 5 * MIB * count)
        good = [number for number in range(1, count + 1) if number % 5]
        # Elsewhere than on the disk one of another size, which is what the store tells too.
        data = bytes(5 * MIB) if isinstance(site.objects, LocalStore) else b"abc"
        for number in good:
            await site.send(spec["parts"][number - 1], data)
        site.watched_objects.calls.clear()
        works = [
            uploads.finish_part(object_id, spec["uploadId"], number, md5(data), md5(data))
            for number in range(1, count + 1)
        ]
        results = await asyncio.gather(*works, return_exceptions=True)
        for number, result in enumerate(results, 1):
            if number not in good:
                assert "not in the store" in str(result)
            elif len(data) == 5 * MIB:
                assert result is False
            else:
                assert "3 bytes in the store" in str(result)
        assert site.watched_objects.calls.count("find_parts") <= 2

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


def test_a_part_of_another_size_never_becomes_an_object(run: Callable[[Test], None]) -> None:
    """Recorded by a server that does not look at sizes, as the reference; a store that takes such a part is S3."""

    async def test(site: Site) -> None:
        if isinstance(site.objects, LocalStore):
            return  # its URLs take parts of their own size only
        uploads = site.server()
        object_id = await site.register()
        spec = await start(uploads, object_id, 3)
        await site.send(spec["parts"][0], b"abcd")
        with refused(Conflict, "4 bytes in the store, not 3"):
            await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abcd"), md5(b"abcd"))
        record = FinishedPart(part_number=1, md5=md5(b"abcd"), etag=md5(b"abcd"))
        await site.state.put(LAYOUT.record(object_id, spec["uploadId"], record), b"")
        with refused(Conflict, "4 bytes in the store, not 3"):
            await uploads.complete(object_id, spec["uploadId"])
        assert await site.objects.stat(LAYOUT.object(object_id)) is None
        assert await stored_part(site.objects, LAYOUT.object(object_id), UploadId(spec["uploadId"]), 1) == StoredPart(
            1, 4, md5(b"abcd")
        )

    run(test)


class TestShort:
    """The last part completes the upload, and a start that replaces nothing."""

    def test_the_last_part_completes(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 5 * MIB + 1)
            for number, data, completed in ((2, b"z", False), (1, bytes(5 * MIB), True), (1, bytes(5 * MIB), True)):
                if not await uploads.exists(object_id):
                    await site.send(spec["parts"][number - 1], data)
                told = md5(data), md5(data)
                assert (
                    await uploads.finish_part(object_id, spec["uploadId"], number, *told, complete=True) is completed
                )
            assert await site.keys() == []
            assert (await site.final(object_id))["uploadId"] == spec["uploadId"]

        run(test)

    def test_another_server_leaves_it_to_the_completion(self, run: Callable[[Test], None]) -> None:
        """It did not see the other part, and believes no record."""

        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 5 * MIB + 1)
            await site.put_part(uploads, spec, 1, bytes(5 * MIB))
            await site.send(spec["parts"][1], b"z")
            other = site.server()
            assert not await other.finish_part(object_id, spec["uploadId"], 2, md5(b"z"), md5(b"z"), complete=True)
            await other.complete(object_id, spec["uploadId"])

        run(test)

    def test_what_is_not_there_completes_nothing(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 3)
            with refused(Conflict, "not in the store"):
                await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc"), complete=True)
            await site.send(spec["parts"][0], b"abc")
            with refused(Conflict, "another ETag"):
                await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abd"), md5(b"abd"), complete=True)
            with refused(NotFound):
                await uploads.finish_part(object_id, "bm90aGVyZQ", 1, md5(b"abc"), md5(b"abc"), complete=True)
            assert await site.objects.stat(LAYOUT.object(object_id)) is None

        run(test)

    def test_once_it_is_published_the_part_is_recorded_only(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            await uploads.complete(object_id, (await self._sent(site, uploads, object_id, b"old"))["uploadId"])
            spec = await start(uploads, object_id, 3, overwrite=True)
            await site.send(spec["parts"][0], b"new")
            await site.publish()
            told = md5(b"new"), md5(b"new")
            assert not await uploads.finish_part(object_id, spec["uploadId"], 1, *told, complete=True)
            with refused(NotReady):
                await uploads.complete(object_id, spec["uploadId"])
            assert (await site.final(object_id))["uploadId"] != spec["uploadId"]

        run(test)

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("die_at", range(1, 4))
    def test_after_a_crash_it_is_asked_for_again(self, run: Callable[[Test], None], die_at: int, after: bool) -> None:
        """At each change: the object, the final specification, the deletion of the state."""

        async def test(site: Site) -> None:
            object_id = await site.register()
            one = Site(site.objects, site.objects, site.registry)
            spec = await start(one.server(), object_id, 3)
            await site.send(spec["parts"][0], b"abc")
            told = object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc")
            with pytest.raises(Crash):
                await one.server(die_at=die_at, after=after).finish_part(*told, complete=True)
            fresh = one.server()
            assert await fresh.finish_part(*told, complete=True)
            assert await one.keys() == []
            assert (await one.final(object_id))["uploadId"] == spec["uploadId"]

        run(test)

    def test_the_only_part_is_neither_looked_for_nor_recorded(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 3)
            await site.send(spec["parts"][0], b"abc")
            site.watched_objects.calls.clear()
            assert await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc"), complete=True)
            assert [name for name in site.watched_objects.calls if name != "limits"] == ["complete"]
            assert (await site.final(object_id))["parts"][0]["sourceMd5"] == md5(b"abc")

        run(test)

    def test_a_part_of_another_size_is_no_success(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 3)
            with suppress(Integrity):  # the local store takes no such part
                await site.send(spec["parts"][0], b"abcd")
            with pytest.raises((Integrity, Conflict)):
                await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abcd"), md5(b"abcd"), complete=True)
            assert not await uploads.exists(object_id)
            again = await start(uploads, object_id, 3, overwrite=True)
            await site.put_part(uploads, again, 1, b"abc")
            await uploads.complete(object_id, again["uploadId"])
            assert (await site.final(object_id))["uploadId"] == again["uploadId"]

        run(test)

    def test_a_start_afresh_replaces_nothing(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 3, afresh=True)
            with refused(AlreadyExists, "in progress"):
                await start(uploads, object_id, 3, afresh=True)
            assert (await uploads.status(object_id, 3)).upload_id == spec["uploadId"]
            await site.put_part(uploads, spec, 1, b"abc")
            await uploads.complete(object_id, spec["uploadId"])
            with refused(AlreadyExists, "exists"):
                await start(uploads, object_id, 3, afresh=True)

        run(test)

    @staticmethod
    async def _sent(site: Site, uploads: Uploads, object_id: str, data: bytes) -> dict[str, Any]:
        spec = await start(uploads, object_id, len(data))
        await site.put_part(uploads, spec, 1, data)
        return spec
