"""What completes an upload, and what is left where something went wrong before: two records of a part, records that
contradict the store, a crash between the joining of the parts and the final ``.meta``. On MinIO, with and without
encryption by the server's setting or the bucket's own, on Ceph, on a disk, and where ETags
look like no MD5s."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from score.broker.access import Access
from score.broker.state import read_record
from score.broker.uploads import UploadRules, Uploads
from score.errors import NotFound
from score.protocol.parts import MIB
from score.protocol.wire import FinishedPart
from score.storage.base import ObjectStat, ObjectStore, StoredPart, UploadId, stored_part
from score.storage.local import LocalStore
from score.testing.minio import Minio, running_minio
from score.testing.s3_contract import boto, encrypt

from ..conftest import LAYOUT, Pair, make_buckets, open_buckets, opened_by, send, settings_of
from ..conftest import Site as Ground

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

    async def complete(
        self, key: str, upload: UploadId, parts: Sequence[StoredPart], replacing: bool = True
    ) -> ObjectStat:
        inner = [replace(part, etag=part.etag[3:35][::-1]) for part in parts]
        return await super().complete(key, upload, inner, replacing)


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
        return self.upload_of(spec)

    def upload_of(self, spec: dict[str, Any]) -> Upload:
        """The upload of a start's answer."""
        return Upload(self, spec["objectId"], UploadId(spec["uploadId"]), [part["url"] for part in spec["parts"]])

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

    async def finish_all(self, pieces: Sequence[bytes]) -> None:
        """These parts, in order."""
        for number, piece in enumerate(pieces, 1):
            await self.finish(number, piece)

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


async def crashed(site: Site, object_id: str = "") -> Upload:
    """An upload whose server died when it had joined the parts."""
    upload = await site.start(object_id or await site.register(SIZE))
    await upload.finish_all(DATA)
    with pytest.raises(Crash):
        await site.server(objects=Dying(site.objects, "complete", after=True)).complete(upload.object_id, upload.id)
    return upload
