"""The calls of the Score v1 protocol, section 2: parameters in, answers out. What they do is the broker's."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from score.broker.access import Access
from score.broker.blocks import BlockUploads
from score.broker.catalogue import Catalogue
from score.broker.downloads import Downloads
from score.broker.downloads import Request as Wanted
from score.broker.health import Health
from score.broker.htsget.tickets import Tickets
from score.broker.listing import Listing
from score.broker.progress import UploadsInProgress
from score.broker.removal import Removal
from score.broker.uploads import Uploads
from score.config.words import boolean, whole
from score.errors import AlreadyExists, Conflict, Invalid
from score.protocol.wire import FEATURES, SHORT_UPLOADS, to_json
from score.server.problems import TEXT, dump

_LARGE = 64 * 1024
"""Bytes from which an answer is worth compressing."""


@dataclass(frozen=True, slots=True)
class Broker:
    """The service that the calls are made to."""

    access: Access
    uploads: Uploads | BlockUploads
    downloads: Downloads
    listing: Listing
    removal: Removal
    health: Health
    tickets: Tickets
    catalogue: Catalogue
    progress: UploadsInProgress
    profile: str = "s3"


def _filled(text: object) -> object:
    if not str(text):
        raise ValueError("given")
    return text


Whole = Annotated[int, BeforeValidator(whole)]
Switch = Annotated[bool, BeforeValidator(boolean)]
Filled = Annotated[str, BeforeValidator(_filled)]
FileSize = Annotated[Whole, Query(alias="fileSize", description="Bytes of the file.")]
PartNumber = Annotated[Whole, Query(alias="partNumber", description="Number of the part, from 1.")]
UploadId = Annotated[Filled, Query(alias="uploadId", description="uploadId of the specification.")]


def bearer(request: Request) -> str | None:
    """The token of a request, None where it has none; an empty one is one, which nobody takes.

    Only the header counts: a token in a query would end up in logs. Invalid where it is given twice: what stands
    between may have looked at the other one.
    """
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise Invalid("The request has more than one Authorization header.")
    return token_of(given[0]) if given else None


def token_of(header: str) -> str | None:
    """The token of an Authorization header, None where it is of another scheme."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def add_score_routes(app: FastAPI, broker: Broker) -> None:
    """Let ``app`` answer the calls of the protocol."""
    access, uploads, downloads = broker.access, broker.uploads, broker.downloads

    # Routes are tried in their order, and this one is called once for each part.
    @app.post("/upload/{object_id}/parts", tags=["upload"])
    async def finish_part(
        request: Request,
        object_id: str,
        number: PartNumber,
        upload_id: UploadId,
        md5: Annotated[Filled, Query(description="MD5 of the part, in hex.")],
        etag: Annotated[Filled, Query(description="ETag that the store gave, without quotes.")],
        size: Annotated[Whole | None, Query(alias="fileSize", description="Bytes of a file of one part.")] = None,
        complete: Switch = False,
    ) -> Response:
        """Record a part as finished; with complete, the last one completes the upload, which the answer then says."""
        await access.upload(bearer(request), object_id)
        if not await uploads.finish_part(object_id, upload_id, number, md5, etag, size=size, complete=complete):
            return Response()
        broker.listing.renew()
        return Response("completed", media_type=TEXT)

    @app.get("/profile", tags=["service"])
    async def profile() -> Response:
        """How clients upload: s3 or az. Open."""
        return Response(broker.profile, headers={FEATURES: SHORT_UPLOADS}, media_type=TEXT)

    @app.get("/download/ping", tags=["download"])
    async def ping() -> Response:
        """A URL to GET the sentinel, valid for 5 minutes. Open."""
        return Response(downloads.ping(), media_type=TEXT)

    @app.get("/download/{object_id}", tags=["download"])
    async def download(
        request: Request,
        object_id: str,
        offset: Whole,
        length: Whole,
        external: Switch = False,
        exclude_urls: Annotated[Switch, Query(alias="exclude-urls")] = False,
    ) -> Response:
        """The parts of an object, or of a range of it, with URLs to GET them."""
        await access.download(bearer(request), object_id, urls=not exclude_urls)
        wanted = Wanted(offset, length, external, urls=not exclude_urls)
        return await _json(request, to_json(await downloads.specification(object_id, wanted)))

    @app.get("/listing", tags=["download"])
    async def listing(request: Request) -> Response:
        """All objects."""
        await access.look(bearer(request))
        return await _json(request, await broker.listing.document())

    @app.post("/upload/cancel", tags=["upload"])
    async def cancel_all(request: Request) -> Response:
        """Cancel every upload in progress. Needs the system scope."""
        await access.upload_everywhere(bearer(request))
        await uploads.cancel_all()
        return Response()

    @app.get("/upload/test/{object_id}", tags=["upload"])
    async def test(request: Request, object_id: str) -> Response:
        """Is the upload of this object allowed?"""
        await access.upload(bearer(request), object_id)
        return Response("Upload Test Operation executed", media_type=TEXT)

    @app.delete("/upload/{object_id}/parts", tags=["upload"])
    async def forget_part(request: Request, object_id: str, number: PartNumber, upload_id: UploadId) -> Response:
        """Forget a finished part, so that it is sent again."""
        await access.upload(bearer(request), object_id)
        await uploads.forget_part(object_id, upload_id, number)
        return Response()

    @app.post("/upload/{object_id}/uploads", tags=["upload"])
    async def start(
        request: Request,
        object_id: str,
        size: FileSize,
        md5: Annotated[str | None, Query(description="MD5 of the file, in hex.")] = None,
        overwrite: Switch = False,
    ) -> Response:
        """Start an upload, in place of any older one of that object."""
        await access.upload(bearer(request), object_id)
        return await _json(request, await uploads.start(object_id, size, md5 or None, overwrite))

    @app.post("/upload/{object_id}/begin", tags=["upload"])
    async def begin(
        request: Request,
        object_id: str,
        size: FileSize,
        md5: Annotated[str | None, Query(description="MD5 of the file, in hex.")] = None,
    ) -> Response:
        """Start an upload, unless the object is there or an upload of it is in progress."""
        await access.upload(bearer(request), object_id)
        try:
            return await _json(request, await uploads.start(object_id, size, md5 or None, afresh=True))
        except AlreadyExists as error:  # a 500 elsewhere, for clients of the reference, which do not make this call
            raise Conflict(error.message, hint=error.hint) from None

    @app.get("/upload/{object_id}/status", tags=["upload"])
    async def status(request: Request, object_id: str, size: FileSize) -> Response:
        """How far the upload in progress is. Finished parts have sourceMd5."""
        await access.upload(bearer(request), object_id)
        return await _json(request, to_json(await uploads.status(object_id, size)))

    @app.post("/upload/{object_id}/recovery", tags=["upload"])
    async def recover(request: Request, object_id: str, size: FileSize) -> Response:
        """Is an upload of that size in progress?"""
        await access.upload(bearer(request), object_id)
        await uploads.recover(object_id, size)
        return Response()

    @app.post("/upload/{object_id}", tags=["upload"])
    async def complete(request: Request, object_id: str, upload_id: UploadId) -> Response:
        """Complete an upload."""
        await access.upload(bearer(request), object_id)
        await uploads.complete(object_id, upload_id)
        broker.listing.renew()
        return Response()

    @app.delete("/upload/{object_id}", tags=["upload"])
    async def cancel(
        request: Request,
        object_id: str,
        upload_id: Annotated[
            str | None, Query(alias="uploadId", description="That upload, and no other begun meanwhile.")
        ] = None,
    ) -> Response:
        """Cancel the upload in progress."""
        await access.upload(bearer(request), object_id)
        await uploads.cancel(object_id, upload_id)
        return Response()

    @app.get("/upload/{object_id}", tags=["upload"])
    async def exists(request: Request, object_id: str) -> Response:
        """Was the object uploaded to the end: true or false. `Last-Modified` says when."""
        await access.upload(bearer(request), object_id)
        when = await uploads.completed(object_id)
        headers = {"Last-Modified": format_datetime(when, usegmt=True)} if when else {}
        return Response(b"true" if when else b"false", headers=headers, media_type="application/json")

    @app.delete("/admin/objects/{object_id}", tags=["service"])
    async def remove(request: Request, object_id: str) -> Response:
        """Remove an object for good, with its unfinished uploads. Needs the system upload scope."""
        who = await access.administer(bearer(request))
        kept = await broker.removal.remove(object_id, f"{who.subject} {who.fingerprint}".strip())
        broker.listing.renew()
        return Response(dump({"objectId": object_id, "removed": str(kept)}), media_type="application/json")


async def _json(request: Request, document: bytes) -> Response:
    """A JSON answer, compressed where it is large and the client takes that: 10,000 URLs shrink to a ninth."""
    if len(document) < _LARGE or "gzip" not in request.headers.get("accept-encoding", "").lower():
        return Response(document, media_type="application/json")
    packed = await asyncio.to_thread(gzip.compress, document, 1)
    return Response(
        packed, headers={"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}, media_type="application/json"
    )
