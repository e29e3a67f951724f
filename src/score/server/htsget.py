"""The calls of htsget 1.3: parameters in, tickets out. What is in them is the broker's.

Tickets are not compressed: the specification forbids it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from score._version import __version__
from score.broker.htsget.query import FIELDS, Datatype, Query, read_document, read_parameters
from score.broker.htsget.refusals import InvalidInput, PayloadTooLarge
from score.broker.htsget.tickets import Ticket, Tickets
from score.server import bodies
from score.server.edge import BASE
from score.server.problems import HTSGET, dump
from score.server.routes import bearer
from score.server.settings import Settings

VERSION = "1.3.0"
MEDIA_TYPE = f"application/vnd.ga4gh.htsget.v{VERSION}+json; charset=utf-8"
LARGEST_DOCUMENT = 1024 * 1024
"""Bytes of the body of a POST: some ten thousand regions."""


def add_htsget_routes(app: FastAPI, tickets: Tickets, settings: Settings) -> None:
    """Let ``app`` answer the calls of htsget."""
    for datatype in Datatype:
        _add_info(app, datatype, settings)
        _add_tickets(app, tickets, datatype)


def _add_info(app: FastAPI, datatype: Datatype, settings: Settings) -> None:
    @app.get(f"{HTSGET}{datatype}/service-info", tags=["htsget"], name=f"{datatype}_service_info")
    async def info() -> Response:
        """What this service can do, as GA4GH's service-info. Open."""
        return Response(dump(_describe(datatype, settings, BASE.get())), media_type="application/json")


def _add_tickets(app: FastAPI, tickets: Tickets, datatype: Datatype) -> None:
    path = f"{HTSGET}{datatype}/{{object_id:path}}"

    @app.get(path, tags=["htsget"], name=f"{datatype}_ticket", openapi_extra={"parameters": _parameters(datatype)})
    async def get(request: Request, object_id: str) -> Response:
        """A ticket for a file or a region of it, by htsget 1.3."""
        query = read_parameters(datatype, request.query_params.multi_items())
        return await _answer(request, object_id, query)

    @app.post(path, tags=["htsget"], name=f"{datatype}_regions", openapi_extra={"requestBody": _body(datatype)})
    async def post(request: Request, object_id: str) -> Response:
        """A ticket for a file or several regions of it, by htsget 1.3."""
        if request.url.query:
            raise InvalidInput("A POST has its parameters in its body, and none in its URL.")
        return await _answer(request, object_id, read_document(datatype, await _read(request)))

    async def _answer(request: Request, object_id: str, query: Query) -> Response:
        ticket = await tickets.ticket(bearer(request), datatype, object_id, query)
        return Response(dump(_document(ticket)), headers={"Content-Type": MEDIA_TYPE})


async def _read(request: Request) -> bytes:
    """The body of a request. PayloadTooLarge; InvalidInput where it does not come to its end."""
    body = bytearray()
    try:
        async for piece in bodies.pieces(request):
            body += piece
            if len(body) > LARGEST_DOCUMENT:
                raise PayloadTooLarge(
                    f"The body is larger than {LARGEST_DOCUMENT} bytes.", hint="Ask for fewer regions."
                )
    except TimeoutError:
        raise InvalidInput(f"No data arrived for {bodies.SILENCE:g} s.") from None
    except ClientDisconnect:
        raise InvalidInput("The body of the request ends too early.") from None
    return bytes(body)


def _document(ticket: Ticket) -> dict[str, object]:
    urls = []
    for one in ticket.urls:
        entry: dict[str, object] = {"url": one.url}
        if one.range:
            entry["headers"] = {"Range": one.range}
        if one.of:
            entry["class"] = one.of
        urls.append(entry)
    inner: dict[str, object] = {"format": str(ticket.format), "urls": urls}
    if ticket.md5:
        inner["md5"] = ticket.md5
    return {"htsget": inner}


def _describe(datatype: Datatype, settings: Settings, base: str) -> dict[str, object]:
    """The document of service-info; whatever was not set is told by the address that was asked."""
    host = urlsplit(base).hostname or "localhost"
    words = host.split(".")
    named = words[-1].isalpha()
    return {
        "id": settings.htsget_id or ".".join([*(reversed(words) if named else words), "htsget"]),
        "name": settings.htsget_name or f"Score at {host}",
        "type": {"group": "org.ga4gh", "artifact": "htsget", "version": VERSION},
        "organization": {
            "name": settings.htsget_organization or host,
            "url": settings.htsget_organization_url or base,
        },
        "version": __version__,
        "htsget": {
            "datatype": str(datatype),
            "formats": [str(one) for one in datatype.formats],
            "fieldsParameterEffective": False,
            "tagsParametersEffective": False,
        },
    }


def _parameters(datatype: Datatype) -> list[dict[str, Any]]:
    """The parameters of a GET for the description; they are read apart from it, to be refused by htsget's errors."""
    number = {"type": "integer", "minimum": 0, "maximum": (1 << 32) - 1}
    text = {"type": "string"}
    table: list[tuple[str, dict[str, Any], str]] = [
        ("format", _format(datatype), "Must be that of the file."),
        ("class", {"type": "string", "enum": ["header"]}, "The header alone."),
        ("referenceName", text, "Reference; * of reads: those without a place. Else the whole file."),
        ("start", number, "First position, from 0."),
        ("end", number, "Position after the last."),
        ("fields", text, f"Comma list of {', '.join(FIELDS)}; all are given."),
        ("tags", text, "Comma list of tags; all are given."),
        ("notags", text, "Comma list of tags; all are given."),
    ]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
        for name, schema, description in table
    ]


def _body(datatype: Datatype) -> dict[str, Any]:
    """The body of a POST for the description."""
    number = {"type": "integer", "minimum": 0, "maximum": (1 << 32) - 1}
    words = {"type": "array", "items": {"type": "string"}}
    region = {
        "type": "object",
        "required": ["referenceName"],
        "properties": {"referenceName": {"type": "string"}, "start": number, "end": number},
    }
    properties = {
        "format": _format(datatype),
        "class": {"type": "string", "enum": ["header"]},
        "fields": words,
        "tags": words,
        "notags": words,
        "regions": {"type": "array", "minItems": 1, "items": region},
    }
    return {
        "required": False,
        "content": {"application/json": {"schema": {"type": "object", "properties": properties}}},
    }


def _format(datatype: Datatype) -> dict[str, Any]:
    return {"type": "string", "enum": [str(one) for one in datatype.formats]}
