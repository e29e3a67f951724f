"""The data plane of the local store: PUT of parts, GET and HEAD of objects, under URLs that the store signed.

It answers as S3 does, since its clients were written for S3: ETags, ranges, and errors as
``<Error><Code>…</Code><Message>…</Message></Error>``. A full disk is a 507: v1 clients retry every 5xx but 500, and
keep their finished parts when retries end, where a 4xx or a 500 ends the upload.

Plain ASGI endpoints, for speed: nothing between them and the server may gather bodies (no ``BaseHTTPMiddleware``),
and no access log may write their query strings, which hold signatures.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any
from xml.sax.saxutils import escape

from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from score.broker.audit import TRAIL
from score.errors import (
    Conflict,
    Expired,
    Forbidden,
    Integrity,
    Invalid,
    NoSpace,
    NotFound,
    Refused,
    ScoreError,
    Unavailable,
)
from score.protocol.digests import to_hex
from score.protocol.parts import MIB, Span, cut
from score.server.bodies import SILENCE
from score.storage.base import ObjectStat
from score.storage.local import LocalStore
from score.storage.local.store import OpenObject
from score.storage.local.urls import PATH, Grant

log = logging.getLogger(__name__)

PIECE = MIB
"""Bytes that go to or come from a thread at once."""

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})\Z")
_LENGTH = re.compile(r"\d{1,19}\Z")


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as S3 tells it."""

    status: int
    code: str


_FAULTS: dict[type[ScoreError], Fault] = {
    Expired: Fault(403, "AccessDenied"),
    Forbidden: Fault(403, "AccessDenied"),
    Refused: Fault(403, "AccessDenied"),
    Invalid: Fault(400, "InvalidArgument"),
    Integrity: Fault(500, "InternalError"),
    Conflict: Fault(409, "OperationAborted"),
    NoSpace: Fault(507, "InsufficientStorage"),
    Unavailable: Fault(503, "SlowDown"),
}


class Answer(Exception):
    """A refusal that is the plane's own."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.fault = Fault(status, code)
        self.message = message
        self.headers = headers or {}


def data_plane(*stores: LocalStore, silence: float = SILENCE) -> list[Route]:
    """The routes of ``stores``, one for each bucket: ``/store/<bucket>/<key>``.

    A sender of whom nothing is heard for ``silence`` seconds is refused with ``RequestTimeout``, which clients retry.
    """
    return [Route(f"{PATH}/{store.name}/{{key:path}}", Plane(store, silence)) for store in stores]


def parse_range(header: str | None, size: int) -> Span | None:
    """The bytes that a ``Range`` header asks of an object, None for all of them.

    A header that is malformed, or asks for several ranges, is ignored (RFC 9110, 14.2). Raises :class:`Answer` (416)
    where no byte is within the object.
    """
    match = _RANGE.match(header or "")
    if match is None:
        return None
    first, last = match.groups()
    if first:
        start = int(first)
        end = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    elif last:
        start, end = max(0, size - int(last)), size
    else:
        return None
    if start >= end:
        raise Answer(
            416, "InvalidRange", "The requested range is not satisfiable.", {"Content-Range": f"bytes */{size}"}
        )
    return Span(start, end - start)


class Plane:
    """Serves one bucket."""

    def __init__(self, store: LocalStore, silence: float) -> None:
        self._store = store
        self._silence = silence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI endpoint."""
        method = scope["method"]
        try:
            if method == "PUT":
                await self._put(scope, receive, send)
            elif method in ("GET", "HEAD"):
                await self._get(scope, receive, send)
            else:
                raise Answer(405, "MethodNotAllowed", "The method is not allowed here.", {"Allow": "GET, HEAD, PUT"})
        except ClientDisconnect:
            log.info("The sender of %s %s went away before the end", method, scope["path"])
        except Answer as answer:
            await _refuse(scope, send, answer.fault, answer.message, answer.headers)
        except NotFound as error:
            await _refuse(scope, send, Fault(404, "NoSuchUpload" if method == "PUT" else "NoSuchKey"), str(error))
        except ScoreError as error:
            fault = _FAULTS.get(type(error), Fault(500, "InternalError"))
            if fault.status >= 500:
                log.error("%s %s: %s", method, scope["path"], error)
            await _refuse(scope, send, fault, str(error))

    def _grant(self, scope: Scope, method: str) -> Grant:
        query = scope["query_string"].decode("latin-1")
        return self._store.check_url(method, scope["path_params"]["key"], query)

    async def _put(self, scope: Scope, receive: Receive, send: Send) -> None:
        grant = self._grant(scope, "PUT")
        headers = _headers(scope)
        _check_length(headers.get("content-length"), grant)
        expected_md5 = _content_md5(headers.get("content-md5"))
        store = self._store
        writer = await store.in_thread(store.open_part, grant)
        try:
            writing: asyncio.Future[None] | None = None
            async for pieces in _gather(receive, self._silence):
                if writing is not None:
                    await writing
                writing = store.in_thread(writer.write, pieces)
                writing.add_done_callback(_notice)
            if writing is not None:
                await writing
            try:
                part = await store.in_thread(writer.finish, expected_md5)
            except Integrity as error:
                raise Answer(400, "BadDigest", str(error)) from error
        finally:
            await asyncio.shield(store.in_thread(store.close_part, writer))
        await _start(send, 200, {"ETag": f'"{part.etag}"', "Content-Length": "0"})
        await send({"type": "http.response.body", "body": b""})

    async def _get(self, scope: Scope, receive: Receive, send: Send) -> None:
        grant = self._grant(scope, "GET")
        headers = _headers(scope)
        if grant.span and headers.get("range") != grant.span.http_range:
            raise Answer(403, "AccessDenied", f"This URL is signed for the header Range: {grant.span.http_range}.")
        file = await self._store.in_thread(self._store.open_object, grant.key)
        try:
            status, span, answer_headers = _describe(file.stat, headers)
            if grant.span and status != 206:  # If-Range asks for all of an object that is another one by now
                raise Answer(412, "PreconditionFailed", "The object is another one than the one in If-Range.")
            await _start(send, status, answer_headers)
            if scope["method"] == "HEAD" or not span.length:
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._stream(file, span, receive, send)
        finally:
            await asyncio.shield(self._store.in_thread(file.close))

    async def _stream(self, file: OpenObject, span: Span, receive: Receive, send: Send) -> None:
        """Send ``span``, reading the next piece while one is sent. Ends early when the reader goes away."""
        gone = asyncio.ensure_future(_disconnection(receive))
        try:
            first, *others = cut(span, PIECE)
            ahead = self._read(file, first)
            for piece in others:
                data = await ahead
                ahead = self._read(file, piece)
                await send({"type": "http.response.body", "body": data, "more_body": True})
                if gone.done():
                    return
            await send({"type": "http.response.body", "body": await ahead})
        except ScoreError as error:
            # Too late for another status: the connection is closed before its Content-Length, which readers notice.
            log.error("GET %s/%s/%s broken off: %s", PATH, self._store.name, file.stat.key, error)
        finally:
            gone.cancel()

    def _read(self, file: OpenObject, span: Span) -> asyncio.Future[bytes]:
        reading = self._store.in_thread(file.read, span.offset, span.length)
        reading.add_done_callback(_notice)
        return reading


async def _gather(receive: Receive, silence: float) -> AsyncIterator[list[bytes]]:
    """The body of a request in lists of about :data:`PIECE` bytes. Raises ClientDisconnect where it breaks off."""
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        try:
            async with asyncio.timeout(silence):
                message = await receive()
        except TimeoutError:
            raise Answer(
                400, "RequestTimeout", f"No data arrived for {silence:g} s.", {"Connection": "close"}
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        if body := message.get("body"):
            pieces.append(body)
            size += len(body)
        if size >= PIECE:
            yield pieces
            pieces, size = [], 0
    if pieces:
        yield pieces


async def _disconnection(receive: Receive) -> None:
    """Returns when the other side is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _notice(done: asyncio.Future[Any]) -> None:
    """Look at an outcome that nobody may wait for any more, because something else ended the request first."""
    if not done.cancelled():
        done.exception()


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _check_length(length: str | None, grant: Grant) -> None:
    """Hold a sender to the size that was signed."""
    if length is None:
        raise Answer(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    wanted = grant.span.length if grant.span else 0
    if _LENGTH.match(length) is None or int(length) != wanted:
        larger = _LENGTH.match(length) and int(length) > wanted
        code = "EntityTooLarge" if larger else "IncompleteBody"
        raise Answer(400, code, f"Part {grant.number} has {wanted} bytes, and Content-Length says {length[:20]}.")


def _content_md5(header: str | None) -> str | None:
    """A ``Content-MD5`` header (base64) in hex."""
    if header is None:
        return None
    md5 = to_hex(header)
    if md5 is None:
        raise Answer(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
    return md5


def _describe(stat: ObjectStat, headers: dict[str, str]) -> tuple[int, Span, dict[str, str]]:
    """Status, bytes and headers of the answer to a request for an object."""
    etag = f'"{stat.etag}"'
    modified = format_datetime(stat.last_modified, usegmt=True)
    wanted = headers.get("if-match")
    if wanted is not None and wanted.strip() != "*" and etag not in map(str.strip, wanted.split(",")):
        raise Answer(412, "PreconditionFailed", "The object has another ETag than the one in If-Match.")
    ranged = headers.get("range") if headers.get("if-range", etag) in (etag, modified) else None
    span = parse_range(ranged, stat.size)
    answer = {
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "ETag": etag,
        "Last-Modified": modified,
    }
    if span is None:
        return 200, Span(0, stat.size), answer | {"Content-Length": str(stat.size)}
    content_range = f"bytes {span.offset}-{span.end - 1}/{stat.size}"
    return 206, span, answer | {"Content-Length": str(span.length), "Content-Range": content_range}


async def _start(send: Send, status: int, headers: dict[str, str]) -> None:
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _refuse(
    scope: Scope, send: Send, fault: Fault, message: str, headers: dict[str, str] | None = None
) -> None:
    """Answer with an error document of S3, its code in the head too: of an answer to bytes that are still being sent
    nothing but the head may arrive."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{fault.code}</Code><Message>{_text(message)}</Message>"
        f"<Resource>{_text(scope['path'])}</Resource>{_request_id()}</Error>"
    ).encode()
    described = {"Content-Type": "application/xml", "Content-Length": str(len(body)), "Score-Error": fault.code}
    await _start(send, fault.status, described | (headers or {}))
    await send({"type": "http.response.body", "body": body})


def _request_id() -> str:
    """The id of the request at hand, as an element."""
    trail = TRAIL.get()
    return f"<RequestId>{_text(trail.request_id)}</RequestId>" if trail else ""


def _text(text: str) -> str:
    """Text for an XML document, which cannot hold control characters."""
    return escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text))
