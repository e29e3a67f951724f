"""What completes an upload, and what is left where something went wrong before: two records of a part, records that
contradict the store, a crash between the joining of the parts and the final ``.meta``. On MinIO, with and without
encryption by the server's setting or the bucket's own, on Ceph, on a disk, and where ETags
look like no MD5s."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from score.broker.access import Access
from score.broker.cleanup import Cleanup, Swept
from score.broker.state import read_record
from score.broker.uploads import UploadRules, Uploads
from score.errors import Conflict, Integrity, NotFound
from score.metadata.base import AnalysisState
from score.protocol.parts import MIB
from score.protocol.wire import FinishedPart
from score.storage.base import ObjectStat, ObjectStore, StoredPart, UploadId, stored_part
from score.storage.local import LocalStore
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import S3Store
from score.testing.minio import Minio, running_minio
from score.testing.s3_contract import boto, encrypt

from .conftest import LAYOUT, STUDY, Pair, make_buckets, open_buckets, opened, opened_by, send, settings_of
from .conftest import Site as Ground

KEY = "completion-key"
PART = 5 * MIB
DATA = [b"a" * PART, b"the rest"]
SIZE = PART + len(DATA[1])


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Crash(Exception):
    """The server dies."""


class Dying:
    """A store that dies at its first call of a kind, before or after it does it."""

    def __init__(self, store: ObjectStore, at: str, *, after: bool = False) -> None:
        self._store = store
        self._at = at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._store, name)
        if name != self._at:
            return inner

        async def die(*given: Any) -> None:
            if self._after:
                await inner(*given)
            raise Crash

        return die


class Opaque(LocalStore):
    """A store whose ETags are no MD5s and do not look like any, as those of some gateways."""

    async def find_parts(self, key: str, upload: UploadId, numbers: Collection[int]) -> Mapping[int, StoredPart]:
        found = await super().find_parts(key, upload, numbers)
        return {number: _opaque(part) for number, part in found.items()}

    async def stored_parts(self, key: str, upload: UploadId, after: int = 0) -> AsyncIterator[StoredPart]:
        async for part in super().stored_parts(key, upload, after):
            yield _opaque(part)

    async def complete(self, key: str, upload: UploadId, parts: Sequence[StoredPart]) -> ObjectStat:
        return await super().complete(key, upload, [replace(part, etag=part.etag[3:35][::-1]) for part in parts])


class Short(LocalStore):
    """A store that says of an object it has just made that a byte is missing."""

    async def complete(self, key: str, upload: UploadId, parts: Sequence[StoredPart]) -> ObjectStat:
        made = await super().complete(key, upload, parts)
        return replace(made, size=made.size - 1)


def _opaque(part: StoredPart) -> StoredPart:
    return replace(part, etag=f"CJ+{part.etag[::-1]}_./==")


@dataclass
class Site(Ground):
    """Two buckets and a registry; ``server()`` is a fresh server on them."""

    etags_are_md5s: bool = True

    def server(self, objects: Any = None, state: Any = None) -> Uploads:
        rules = UploadRules(PART, timedelta(days=1))
        return Uploads(objects or self.objects, state or self.state, Access(self.registry), LAYOUT, rules)

    async def start(self, object_id: str) -> Upload:
        spec = json.loads(await self.server().start(object_id, SIZE, overwrite=True))
        return Upload(self, object_id, UploadId(spec["uploadId"]), [part["url"] for part in spec["parts"]])

    async def upload(self, *pieces: bytes) -> Upload:
        """A new upload whose parts are sent and recorded."""
        upload = await self.start(await self.register(SIZE))
        for number, piece in enumerate(pieces or DATA, 1):
            await upload.finish(number, piece)
        return upload


@dataclass
class Upload:
    """An upload in progress."""

    site: Site
    object_id: str
    id: UploadId
    urls: list[str]

    async def send(self, number: int, data: bytes) -> str:
        """PUT a part to its URL; gives its ETag."""
        objects = self.site.objects
        await send(objects, self.urls[number - 1], data)
        stored = await stored_part(objects, LAYOUT.object(self.object_id), self.id, number)
        assert stored is not None
        return stored.etag

    async def finish(self, number: int, data: bytes) -> str:
        etag = await self.send(number, data)
        await self.site.server().finish_part(self.object_id, self.id, number, md5(data), etag)
        return etag

    async def record(self, number: int, given: str, etag: str) -> None:
        """Write a record past our own checks, as the reference does."""
        part = FinishedPart(part_number=number, md5=given, etag=etag)
        await self.site.state.put(LAYOUT.record(self.object_id, self.id, part), b"")

    async def records(self) -> list[tuple[int, str]]:
        """Number and MD5 of every record that is there."""
        keys = [entry.key async for entry in self.site.state.scan(LAYOUT.folder(self.object_id, self.id))]
        return [(part.part_number, part.md5) for key in keys if (part := read_record(key))]

    async def finished(self) -> dict[int, str]:
        """The finished parts by the status, as number and MD5."""
        progress = await self.site.server().status(self.object_id, SIZE)
        return {part.part_number: part.source_md5 for part in progress.parts if part.source_md5}

    async def complete(self) -> None:
        await self.site.server().complete(self.object_id, self.id)

    async def final(self) -> dict[str, Any] | None:
        try:
            return cast("dict[str, Any]", json.loads(await self.site.state.get(LAYOUT.meta(self.object_id))))
        except NotFound:
            return None

    async def check_complete(self, *pieces: bytes) -> None:
        """The object and its final ``.meta`` are there and right, the state is gone."""
        final = await self.final()
        assert final is not None
        assert final["uploadId"] == self.id
        assert [part["sourceMd5"] for part in final["parts"]] == [md5(piece) for piece in pieces or DATA]
        stat = await self.site.objects.stat(LAYOUT.object(self.object_id))
        assert stat is not None
        assert stat.size == final["objectSize"] == SIZE
        assert [entry.key async for entry in self.site.state.scan("upload/")] == []


Test = Callable[[Site], Awaitable[None]]
Run = Callable[[Test], None]


@pytest.fixture(scope="session")
def encrypting() -> Iterator[Minio]:
    with running_minio(kms_key=KEY) as minio:
        yield minio


def open_encrypting(minio: Minio, by: str) -> Pair:
    """Buckets of which that of objects is encrypted, by the server's ``setting`` or the ``bucket``'s own."""
    names = make_buckets(minio)
    if by == "setting":
        return open_buckets(settings_of(minio, kms_key=KEY), names)
    with closing(boto(settings_of(minio))) as client:
        encrypt(client, names[0], KEY)
    return open_buckets(settings_of(minio), names)


REAL = {"minio": "minio", "kms": "minio", "bucket": "minio", "ceph": "ceph"}
KINDS = [*(pytest.param(name, marks=pytest.mark.needs(of)) for name, of in REAL.items()), "local", "opaque"]


@pytest.fixture(params=KINDS)
def store_kind(request: pytest.FixtureRequest) -> str:
    """The kind of store."""
    return str(request.param)


@pytest.fixture
def opening(store_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Pair]:
    """Opens two new buckets."""
    if store_kind in ("kms", "bucket"):
        encrypting: Minio = request.getfixturevalue("encrypting")
        return lambda: open_encrypting(encrypting, "setting" if store_kind == "kms" else "bucket")
    if store_kind == "opaque":
        return lambda: (Opaque(tmp_path, "object", base=lambda: "http://x"), LocalStore(tmp_path, "state", base=str))
    return opened_by(store_kind, request, tmp_path)


@pytest.fixture
def make_site(store_kind: str) -> Callable[..., Site]:
    return partial(Site, etags_are_md5s=store_kind not in ("kms", "bucket", "opaque"))


# Records of one part that disagree


@pytest.mark.parametrize("asked", ["status", "completion"])
@pytest.mark.parametrize("stale", ["older", "younger"])
def test_of_two_records_the_one_counts_that_the_store_agrees_with(run: Run, stale: str, asked: str) -> None:
    """A part sent again with other bytes, recorded twice; the other record goes, so that the reference goes on."""

    async def test(site: Site) -> None:
        upload = await site.start(await site.register(SIZE))
        await upload.finish(1, DATA[0])
        before = await upload.send(2, b"the old.")
        if stale == "older":
            await upload.record(2, md5(b"the old."), before)
        now = await upload.send(2, DATA[1])
        await upload.record(2, md5(DATA[1]), now)
        if stale == "younger":
            await upload.record(2, md5(b"the old."), before)
        assert len(await upload.records()) == 3
        if asked == "status":
            assert await upload.finished() == {1: md5(DATA[0]), 2: md5(DATA[1])}
        else:  # it dies just before the parts are joined, and the reference takes over
            dying = site.server(objects=Dying(site.objects, "complete"))
            with pytest.raises(Crash):
                await dying.complete(upload.object_id, upload.id)
        assert sorted(await upload.records()) == [(1, md5(DATA[0])), (2, md5(DATA[1]))]
        await upload.complete()
        await upload.check_complete()

    run(test)


def test_two_records_that_the_store_both_contradicts(run: Run) -> None:
    """The part was sent a third time and not recorded: it is to be sent again."""

    async def test(site: Site) -> None:
        upload = await site.upload()
        for data in (b"the old.", b"the 2nd."):
            await upload.record(2, md5(data), await upload.send(2, data))
        await upload.send(2, b"the 3rd.")
        with pytest.raises(Conflict, match=r"Part 2 .* another ETag"):
            await upload.complete()
        assert await upload.finished() == {1: md5(DATA[0])}
        assert await upload.records() == [(1, md5(DATA[0]))]
        await upload.finish(2, DATA[1])
        await upload.complete()
        await upload.check_complete()

    run(test)


def test_a_record_of_bytes_that_were_replaced_is_no_finished_part(run: Run) -> None:
    async def test(site: Site) -> None:
        upload = await site.upload()
        await upload.send(2, b"the new.")
        assert await upload.finished() == {1: md5(DATA[0])}
        await upload.finish(2, DATA[1])
        assert await upload.finished() == {1: md5(DATA[0]), 2: md5(DATA[1])}
        await upload.complete()
        await upload.check_complete()

    run(test)


def test_a_part_that_the_store_does_not_hold_is_not_finished(run: Run) -> None:
    async def test(site: Site) -> None:
        upload = await site.start(await site.register(SIZE))
        await upload.finish(1, DATA[0])
        await upload.record(2, md5(DATA[1]), md5(DATA[1]))
        assert await upload.finished() == {1: md5(DATA[0])}
        with pytest.raises(Conflict, match=r"Part 2 .* is not in the store"):
            await upload.complete()
        await upload.finish(2, DATA[1])
        await upload.complete()
        await upload.check_complete()

    run(test)


def test_a_record_whose_md5_and_etag_contradict_each_other(run: Run) -> None:
    """The reference believes the MD5 that it is told. Encrypted, nobody can tell."""

    async def test(site: Site) -> None:
        if not site.etags_are_md5s:
            return
        upload = await site.start(await site.register(SIZE))
        await upload.finish(1, DATA[0])
        await upload.record(2, "f" * 32, await upload.send(2, DATA[1]))
        assert await upload.finished() == {1: md5(DATA[0])}
        await upload.record(2, "f" * 32, md5(DATA[1]))
        await upload.finish(2, DATA[1])
        await upload.record(2, "e" * 32, md5(DATA[1]))
        assert await upload.finished() == {1: md5(DATA[0]), 2: md5(DATA[1])}
        assert len(await upload.records()) == 2
        await upload.complete()
        await upload.check_complete()

    run(test)


@pytest.mark.needs("minio")
def test_a_part_that_was_cut_short_is_not_finished(minio: Minio, tmp_path: Path) -> None:
    """Recorded by a server that does not look at sizes. On a disk a URL takes parts of their own size only."""

    async def test() -> None:
        pair = open_buckets(settings_of(minio), make_buckets(minio))
        async with opened(Site, pair, tmp_path) as site:
            upload = await site.start(await site.register(SIZE))
            await upload.finish(1, DATA[0])
            await upload.record(2, md5(b"the"), await upload.send(2, b"the"))
            assert await upload.finished() == {1: md5(DATA[0])}
            await upload.finish(2, DATA[1])
            await upload.complete()
            await upload.check_complete()

    asyncio.run(test())


def test_records_stand_where_the_upload_is_gone_from_the_store(run: Run) -> None:
    """Its parts were joined: whoever resumes has nothing to send, only to complete."""

    async def test(site: Site) -> None:
        upload = await crashed(site)
        assert await upload.finished() == {1: md5(DATA[0]), 2: md5(DATA[1])}
        await upload.complete()
        await upload.check_complete()

    run(test)


# Between the joining of the parts and the final .meta


async def crashed(site: Site, object_id: str = "") -> Upload:
    """An upload whose server died when it had joined the parts."""
    upload = await site.start(object_id or await site.register(SIZE))
    for number, piece in enumerate(DATA, 1):
        await upload.finish(number, piece)
    with pytest.raises(Crash):
        await site.server(objects=Dying(site.objects, "complete", after=True)).complete(upload.object_id, upload.id)
    return upload


@pytest.mark.parametrize("older", [False, True], ids=["first", "overwrites"])
@pytest.mark.parametrize("then", ["repeated", "cleaned up", "cancelled", "replaced"])
def test_a_crash_before_the_final_meta_loses_nothing(
    run: Run, then: str, older: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where nobody repeats the completion: whatever removes the state writes ``.meta`` first."""

    async def test(site: Site) -> None:
        object_id = await site.register(SIZE)
        if older:
            first = await site.start(object_id)
            for number, piece in enumerate([b"z" * PART, b"an older"], 1):
                await first.finish(number, piece)
            await first.complete()
        upload = await crashed(site, object_id)
        final = await upload.final()
        assert (final is not None and final["uploadId"]) == (older and first.id)
        server = site.server()
        if then == "repeated":
            await upload.complete()
        elif then == "cleaned up":
            week = datetime.now(UTC) + timedelta(days=7)
            cleanup = Cleanup(site.objects, site.state, LAYOUT, server, timedelta(days=6), lambda: week)
            assert await cleanup.run() == Swept(1, 0)
        elif then == "cancelled":
            await server.cancel(object_id)
        else:
            again = await site.start(object_id)
            await site.server().cancel(object_id)
            with pytest.raises(NotFound):
                await site.server().complete(object_id, again.id)
        await upload.check_complete()
        await upload.complete()

    caplog.set_level(logging.WARNING)
    run(test)
    assert ("without its .meta" in caplog.text) == (then != "repeated")


def test_a_lost_answer_is_asked_for_again_when_the_analysis_is_published(run: Run) -> None:
    """The final ``.meta`` is there, so it can be; what was left of the state must not stand in the way."""

    async def test(site: Site) -> None:
        upload = await site.upload()
        with pytest.raises(Crash):
            await site.server(state=Dying(site.state, "delete")).complete(upload.object_id, upload.id)
        entity = await site.registry.entity(upload.object_id)
        await site.registry.change_state(STUDY, entity.gnos_id, AnalysisState.PUBLISHED)
        await upload.complete()
        await upload.check_complete()

    run(test)


@pytest.mark.parametrize("finished", [False, True], ids=["part of it sent", "all of it sent"])
def test_an_upload_that_is_dropped_leaves_the_older_object_as_it_was(run: Run, finished: bool) -> None:
    async def test(site: Site) -> None:
        older = await site.upload()
        await older.complete()
        upload = await site.start(older.object_id)
        await upload.finish(1, b"y" * PART)
        if finished:
            await upload.finish(2, b"the new.")
        await site.server().cancel(older.object_id)
        await older.check_complete()
        with pytest.raises(NotFound):
            await upload.complete()
        await older.complete()

    run(test)


def test_a_drop_that_dies_half_way_is_repeated(run: Run) -> None:
    """The upload is gone then, all parts are recorded, and the object is of none of them."""

    async def test(site: Site) -> None:
        if not site.etags_are_md5s:
            return
        older = await site.upload()
        await older.complete()
        upload = await site.start(older.object_id)
        for number, piece in enumerate([b"y" * PART, b"the new."], 1):
            await upload.finish(number, piece)
        with pytest.raises(Crash):
            await site.server(objects=Dying(site.objects, "abort", after=True)).cancel(older.object_id)
        with pytest.raises((NotFound, Conflict)):  # its parts are gone, and perhaps their records
            await upload.complete()
        await site.server().cancel(older.object_id)
        await older.check_complete()

    run(test)


# Proof under keys of the store, where ETags are no MD5s


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


# All of it together


@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_recorded_the_final_meta_tells_what_the_object_is(run: Run, seed: int) -> None:
    """A part sent, recorded rightly or not, forgotten and asked about at random, by our servers and past them; in the
    end the object is what was sent last, and its MD5 is told."""
    dice = random.Random(seed)

    async def test(site: Site) -> None:
        upload = await site.start(await site.register(SIZE))
        await upload.finish(1, DATA[0])
        etags: dict[bytes, str] = {}
        held = b""

        async def send() -> None:
            nonlocal held
            held = b"%08d" % dice.randrange(3)
            etags[held] = await upload.send(2, held)

        async def finish() -> None:
            claimed = dice.choice(list(etags))
            call = site.server().finish_part(upload.object_id, upload.id, 2, md5(claimed), etags[claimed])
            if claimed == held:
                await call
            else:
                with pytest.raises(Conflict):
                    await call

        async def claim() -> None:
            claimed = dice.choice(list(etags))
            wrong = site.etags_are_md5s and dice.random() < 0.5
            await upload.record(2, "f" * 32 if wrong else md5(claimed), etags[claimed])

        async def forget() -> None:
            await site.server().forget_part(upload.object_id, upload.id, 2)

        async def ask() -> None:
            assert set((await upload.finished()).items()) <= {(1, md5(DATA[0])), (2, md5(held))}

        async def complete() -> None:
            dying = site.server(objects=Dying(site.objects, "complete"))
            with pytest.raises((Crash, Conflict)):
                await dying.complete(upload.object_id, upload.id)

        await send()
        for _ in range(25):
            await dice.choice([send, finish, claim, claim, forget, ask, complete])()
        assert set((await upload.finished()).items()) <= {(1, md5(DATA[0])), (2, md5(held))}
        await site.server().finish_part(upload.object_id, upload.id, 2, md5(held), etags[held])
        assert await upload.finished() == {1: md5(DATA[0]), 2: md5(held)}
        assert len(await upload.records()) == 2, "one for each part, as the reference needs it"
        await upload.complete()
        await upload.check_complete(DATA[0], held)

    run(test)


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
