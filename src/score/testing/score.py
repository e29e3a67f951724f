"""A fake Score server with its store, for tests of clients: everything in memory, parts as small as the test likes.

It speaks the v1 contract as far as clients use it, follows the reference where that is looser, and can misbehave in
ways that a proxy cannot make up: other bytes under the same name, ETags that are no MD5s, ranges that are ignored.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

from aiohttp import web

from score.protocol.parts import Span, cut
from score.protocol.wire import Part, Progress, Specification, to_json
from score.testing.faults import Traffic
from score.testing.proxy import FaultProxy
from score.testing.service import FakeService, Refusal

E = TypeVar("E")

SENTINEL = "heliograph"


def md5(data: bytes) -> str:
    """MD5 in hex."""
    return hashlib.md5(data).hexdigest()


@dataclass(slots=True)
class StoredObject:
    """An object in the store; ``parts`` as it was uploaded. ``md5`` is what the server says of it."""

    data: bytes
    parts: list[Span]
    md5: str | None
    upload_id: str
    etag: str
    part_md5s: bool = True


@dataclass(slots=True)
class StartedUpload:
    """An upload in progress: what the store holds and what was reported, by part number."""

    id: str
    size: int
    md5: str | None
    parts: list[Span]
    stored: dict[int, bytes] = field(default_factory=dict)
    finished: dict[int, str] = field(default_factory=dict)


class _Error(Refusal):
    """An error as Score words it."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self._status = status

    def response(self, request: web.Request) -> web.Response:
        document = {
            "timestamp": "2026-11-22T01:50:35.013+00:00",
            "status": self._status.value,
            "error": self._status.phrase,
            "path": request.path,
            "message": str(self),
        }
        return web.json_response(document, status=self._status.value)


class _StoreError(Refusal):
    """An error as S3 words it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self._status = status
        self._code = code

    def response(self, request: web.Request) -> web.Response:
        text = f"<?xml version='1.0'?><Error><Code>{self._code}</Code><Message>{self}</Message></Error>"
        return web.Response(status=self._status, text=text, content_type="application/xml")


class FakeScore(FakeService):
    """Score and its store on one port. ``part_size`` in bytes; ``public_url`` is where its URLs lead."""

    def __init__(self, part_size: int = 64 * 1024) -> None:
        super().__init__()
        self.part_size = part_size
        self.public_url = ""
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, StartedUpload] = {}
        self.kms = False
        """Answer PUTs as a store does that encrypts with SSE-KMS."""
        self.ranges = True
        """False: answer every GET with the whole object, as stores behind some proxies do."""
        self.conditions = True
        """False: take no notice of ``If-Match``."""
        self.refuses_conditions = False
        """Refuse GETs with ``If-Match``, as some gateways do."""
        self.weak = False
        """Give ETags as proxies do that change answers: weak ones, which fulfil no ``If-Match``."""
        self._generation = 0
        self._count = 0

    def expire(self) -> None:
        """No URL that was given out so far is good any longer."""
        self._generation += 1

    def add(self, object_id: str, data: bytes, *, whole_md5: bool = True, part_md5s: bool = True) -> StoredObject:
        """Put an object in place, or other bytes in the place of one that is there."""
        parts = cut(Span(0, len(data)), self.part_size) or [Span(0, 0)]
        known = md5(data) if whole_md5 else None
        self._count += 1
        upload_id = f"upload-{self._count}" if part_md5s else object_id
        stored = StoredObject(data, parts, known, upload_id, f"{md5(data)}-{len(parts)}", part_md5s)
        self.objects[object_id] = stored
        return stored

    def begin(self, object_id: str, size: int, whole: str | None = None) -> list[Part]:
        """Start an upload, in the place of one in progress; gives its parts with URLs."""
        self._count += 1
        parts = cut(Span(0, size), self.part_size) or [Span(0, 0)]
        self.uploads[object_id] = StartedUpload(f"upload-{self._count}", size, whole, parts)
        return self.upload_parts(object_id)

    def upload_parts(self, object_id: str) -> list[Part]:
        """The parts of the upload in progress, with new URLs; finished ones carry both MD5s."""
        upload = self.uploads[object_id]
        made = []
        for number, span in enumerate(upload.parts, 1):
            done = upload.finished.get(number)
            url = self._sign(object_id, f"uploadId={upload.id}&partNumber={number}&")
            made.append(_part(number, span, url, done, done))
        return made

    def download_parts(self, object_id: str, wanted: Span | None = None) -> list[Part]:
        """The parts of an object, or of a range of it, with new URLs."""
        stored = self.objects[object_id]
        spans = stored.parts if wanted is None else cut(wanted, self.part_size)
        known = wanted is None and stored.part_md5s
        return [
            _part(
                number, span, self._sign(object_id), None, md5(stored.data[span.offset : span.end]) if known else None
            )
            for number, span in enumerate(spans, 1)
        ]

    def finish(self, object_id: str, upload_id: str, number: int, digest: str, etag: str) -> None:
        """Take note of a part. Raises a refusal, which is the server's answer, where the store does not have it."""
        upload = self._upload(object_id, upload_id)
        data = upload.stored.get(number)
        if data is None or (not self.kms and etag != md5(data)):
            raise _Error(HTTPStatus.BAD_REQUEST, f"Part {number} is not in the store as reported.")
        upload.finished[number] = digest

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/profile", self._profile),
            web.get("/listing", self._listing),
            web.get("/download/ping", self._ping),
            web.get("/download/{id}", self._download),
            web.get("/upload/{id}", self._exists),
            web.post("/upload/{id}", self._complete),
            web.delete("/upload/{id}", self._cancel),
            web.post("/upload/{id}/uploads", self._start),
            web.get("/upload/{id}/status", self._status),
            web.post("/upload/{id}/parts", self._finish),
            web.put("/store/{id}", self._put),
            web.get("/store/{id}", self._get),
        ]

    def _sign(self, object_id: str, query: str = "") -> str:
        base = self.public_url or self.url
        end = int(time.time()) + 3600
        return f"{base}/store/{object_id}?{query}Expires={end}&Signature=secret{self._generation}"

    def _upload(self, object_id: str, upload_id: str | None = None) -> StartedUpload:
        upload = self.uploads.get(object_id)
        if upload is None or upload_id not in (None, upload.id):
            raise _Error(HTTPStatus.NOT_FOUND, f"No such upload of {object_id} is in progress.")
        return upload

    async def _profile(self, request: web.Request) -> web.Response:
        return web.Response(text="s3")

    async def _listing(self, request: web.Request) -> web.Response:
        objects = self.objects.items()
        return web.json_response([{"id": one, "lastModified": 0, "size": len(each.data)} for one, each in objects])

    async def _ping(self, request: web.Request) -> web.Response:
        return web.Response(text=self._sign(SENTINEL))

    async def _exists(self, request: web.Request) -> web.Response:
        return web.json_response(request.match_info["id"] in self.objects)

    async def _start(self, request: web.Request) -> web.Response:
        object_id = request.match_info["id"]
        if object_id in self.objects and request.query.get("overwrite") != "true":
            raise _Error(HTTPStatus.INTERNAL_SERVER_ERROR, f"Object {object_id} exists.")
        size, whole = int(request.query["fileSize"]), request.query.get("md5")
        parts = self.begin(object_id, size, whole)
        return _json(_specification(object_id, self.uploads[object_id].id, parts, size, whole))

    async def _status(self, request: web.Request) -> web.Response:
        object_id = request.match_info["id"]
        upload = self._upload(object_id)
        if upload.size != int(request.query["fileSize"]):
            raise _Error(HTTPStatus.BAD_REQUEST, f"The upload in progress has {upload.size} bytes.")
        progress = Progress(object_id, upload.id, self.upload_parts(object_id))
        return web.Response(body=to_json(progress), content_type="application/json")

    async def _finish(self, request: web.Request) -> web.Response:
        q = request.query
        self.finish(request.match_info["id"], q["uploadId"], int(q["partNumber"]), q["md5"], q["etag"])
        return web.Response()

    async def _complete(self, request: web.Request) -> web.Response:
        object_id, upload_id = request.match_info["id"], request.query["uploadId"]
        known = self.objects.get(object_id)
        if known is not None and known.upload_id == upload_id:
            return web.Response()
        upload = self._upload(object_id, upload_id)
        if len(upload.finished) < len(upload.parts):
            raise _Error(HTTPStatus.BAD_REQUEST, "Not all parts are finished.")
        data = b"".join(upload.stored[number] for number in range(1, len(upload.parts) + 1))
        etag = f"{md5(data)}-{len(upload.parts)}"
        self.objects[object_id] = StoredObject(data, upload.parts, upload.md5, upload.id, etag)
        del self.uploads[object_id]
        return web.Response()

    async def _cancel(self, request: web.Request) -> web.Response:
        self._upload(request.match_info["id"])
        del self.uploads[request.match_info["id"]]
        return web.Response()

    async def _download(self, request: web.Request) -> web.Response:
        object_id = request.match_info["id"]
        stored = self.objects.get(object_id)
        if stored is None:
            raise _Error(HTTPStatus.NOT_FOUND, f"No object {object_id}.")
        offset, length = int(request.query["offset"]), int(request.query["length"])
        if request.query.get("external") == "true":
            parts = [_part(1, Span(0, -1), self._sign(object_id), None, None)]
            return _json(_specification(object_id, object_id, parts, -1, stored.md5))
        if (offset, length) == (0, -1):
            parts, upload_id, size = self.download_parts(object_id), stored.upload_id, len(stored.data)
        else:
            wanted = Span(offset, len(stored.data) - offset if length < 0 else length)
            parts, upload_id, size = self.download_parts(object_id, wanted), object_id, wanted.length
        if request.query.get("exclude-urls") == "true":
            parts = [part.changed(url=None) for part in parts]
        return _json(_specification(object_id, upload_id, parts, size, stored.md5))

    def _check_signature(self, request: web.Request) -> None:
        if request.query.get("Signature") != f"secret{self._generation}":
            raise _StoreError(403, "AccessDenied", "Request has expired")

    async def _put(self, request: web.Request) -> web.Response:
        self._check_signature(request)
        upload = self.uploads.get(request.match_info["id"])
        if upload is None or upload.id != request.query["uploadId"]:
            raise _StoreError(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        data = await request.read()
        upload.stored[int(request.query["partNumber"])] = data
        if self.kms:
            headers = {"ETag": f'"{md5(b"secret" + data)}"', "x-amz-server-side-encryption": "aws:kms"}
        else:
            headers = {"ETag": f'"{md5(data)}"'}
        return web.Response(headers=headers)

    async def _get(self, request: web.Request) -> web.Response:
        self._check_signature(request)
        if request.match_info["id"] == SENTINEL:
            return web.Response()
        stored = self.objects.get(request.match_info["id"])
        if stored is None:
            raise _StoreError(404, "NoSuchKey", "The specified key does not exist.")
        headers = {"ETag": f'{"W/" if self.weak else ""}"{stored.etag}"'}
        match = request.headers.get("If-Match")
        if match is not None and self.refuses_conditions:
            raise _StoreError(501, "NotImplemented", "A header you provided implies functionality not implemented.")
        if self.conditions and match is not None and (self.weak or match != headers["ETag"]):
            raise _StoreError(412, "PreconditionFailed", "At least one of the pre-conditions did not hold.")
        asked = request.headers.get("Range", "")
        if not asked or not self.ranges:
            return web.Response(body=stored.data, headers=headers)
        first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
        if first >= len(stored.data):
            raise _StoreError(416, "InvalidRange", "The requested range is not satisfiable")
        data = stored.data[first : last + 1]
        headers["Content-Range"] = f"bytes {first}-{first + len(data) - 1}/{len(stored.data)}"
        return web.Response(status=206, body=data, headers=headers)


def _part(number: int, span: Span, url: str, local: str | None, source: str | None) -> Part:
    return Part(part_number=number, part_size=span.length, offset=span.offset, url=url, md5=local, source_md5=source)


def _specification(object_id: str, upload_id: str, parts: list[Part], size: int, whole: str | None) -> Specification:
    return Specification(
        object_key=f"data/{object_id}",
        object_id=object_id,
        upload_id=upload_id,
        parts=parts,
        object_size=size,
        object_md5=whole,
    )


def _json(document: Specification) -> web.Response:
    return web.Response(body=to_json(document), content_type="application/json")


class Heard:
    """A listener of transfers that keeps what it was told, from any thread."""

    def __init__(self) -> None:
        self._events: list[object] = []
        self._lock = threading.Lock()

    def __call__(self, event: object) -> None:
        with self._lock:
            self._events.append(event)

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._events.clear()

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind, in the order in which they came."""
        with self._lock:
            return [event for event in self._events if isinstance(event, kind)]


@dataclass(frozen=True, slots=True)
class FaultyScore:
    """A fake Score behind a proxy that does damage; ``traffic`` is what passes between it and its clients."""

    fake: FakeScore
    traffic: Traffic
    heard: Heard

    @property
    def url(self) -> str:
        """Where clients go."""
        return self.fake.public_url

    @property
    def puts(self) -> list[int | None]:
        """The part numbers of all PUTs, sorted."""
        return sorted((exchange.part for exchange in self.traffic.seen(method="PUT")), key=str)

    @property
    def gets(self) -> list[str]:
        """The ranges of all GETs of objects, sorted."""
        seen = self.traffic.seen(method="GET", path="/store/")
        return sorted(
            (exchange.range for exchange in seen if SENTINEL not in exchange.path), key=lambda r: (len(r), r)
        )


@contextmanager
def faulty_score(part_size: int) -> Iterator[FaultyScore]:
    """A running fake Score behind a running proxy."""
    with FakeScore(part_size) as fake, FaultProxy(fake.url) as proxy:
        fake.public_url = proxy.url
        yield FaultyScore(fake, proxy.traffic, Heard())
