"""The embedded registry over HTTP, with the calls, documents and errors of Song that Score's users need.

``POST /studies/{study}/``, ``GET /studies/all``, ``GET /studies/{study}``, ``POST /submit/{study}``,
``GET /studies/{study}/analysis[/{analysis}[/files]]``, ``GET /studies/{study}/files/{object}``,
``PUT /studies/{study}/analysis/(publish|unpublish|suppress)/{analysis}``, ``GET /entities[/{object}]``,
``GET /isAlive``. Changes need the right to upload to the study; reads are open, as Song's are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from math import isfinite
from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from score.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    NoSpace,
    NotFound,
    ScoreError,
    Unauthenticated,
    Unavailable,
)
from score.metadata.base import AnalysisState
from score.metadata.embedded import (
    COLUMNS,
    EmbeddedRegistry,
    OtherStudy,
    Suppressed,
    UnknownAnalysis,
    UnknownFile,
    UnknownStudy,
)
from score.metadata.payload import Document
from score.metadata.publication import Held, MissingObjects, OtherChecksums, OtherSizes, check_objects
from score.server import bodies
from score.server.problems import log_trouble, when_again
from score.server.routes import bearer

LARGEST_PAYLOAD = 64 * 1024**2
"""Bytes of an analysis; some hundred thousand files."""
DEEPEST = 100
"""Levels of lists and objects in an analysis: neither Python nor SQLite reads and writes any number of them."""
PAGE = 10
LARGEST_PAGE = 2000
"""Entities of a page, as in Song."""
_AT_ONCE = 16
"""Objects looked at together when an analysis is published."""
_PAGING = ("page", "size", "fields")


class Stored(Protocol):
    """Who knows what the object store holds."""

    async def stored(self, object_id: str) -> tuple[int, str | None] | None:
        """Size (bytes) and MD5 (hex, None where unknown) of a whole object; None where there is none."""
        ...


class Gate(Protocol):
    """Who decides what a token may do."""

    async def may_upload(self, token: str | None, study: str) -> None:
        """Returns when the token's owner may upload to the study. Else Unauthenticated, or Forbidden."""
        ...


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Fault:
    """An error of Song: its id, its status, and the class that its message names."""

    id: str
    status: int
    origin: str = "AnalysisService"


class Refusal(Exception):
    """A refusal that needs an error id of its own."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


_FAULTS: list[tuple[type[ScoreError], Fault]] = [
    (UnknownStudy, Fault("study.id.does.not.exist", 404, "StudyService")),
    (UnknownAnalysis, Fault("analysis.id.not.found", 404)),
    (UnknownFile, Fault("file.not.found", 404, "FileService")),
    (OtherStudy, Fault("entity.not.related.to.study", 400)),
    (Suppressed, Fault("suppressed.state.transition", 400, "AnalysisServiceImpl")),
    (MissingObjects, Fault("missing.storage.objects", 409, "AnalysisServiceImpl")),
    (OtherSizes, Fault("mismatching.storage.object.sizes", 409)),
    (OtherChecksums, Fault("mismatching.storage.object.checksums", 409)),
    (NotFound, Fault("id.not.found", 404)),
    (AlreadyExists, Fault("study.already.exists", 409, "StudyService")),
    (Conflict, Fault("study.id.mismatch", 409, "SubmitService")),
    (Invalid, Fault("schema.violation", 400, "SubmitService")),
    (Unauthenticated, Fault("unauthorized.token", 401, "StudySecurity")),
    (Forbidden, Fault("forbidden.token", 403, "StudySecurity")),
    (NoSpace, Fault("service.unavailable", 507, "Registry")),
    (Unavailable, Fault("service.unavailable", 503, "Registry")),
    (ScoreError, Fault("unknown.error", 500, "Registry")),
]
_UNKNOWN_ENTITY = Fault("legacy.entity.not.found", 404, "LegacyEntityService")
_BAD_QUERY = Fault("illegal.query.parameter", 400, "ParameterChecker")
_BAD_FILTER = Fault("illegal.filter.parameter", 400, "ParameterChecker")
_BAD_PARAMETER = Fault("malformed.parameter", 400)
_BAD_JSON = Fault("payload.parsing", 422, "SubmitService")
_TOO_LARGE = Fault("payload.parsing", 413, "SubmitService")
_TOO_SLOW = Fault("payload.parsing", 408, "SubmitService")


def registry_routes(registry: EmbeddedRegistry, stored: Stored, gate: Gate) -> list[Route]:
    """The routes; all of their errors are documents of Song."""
    calls = Calls(registry, stored, gate)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/isAlive", calls.is_alive),
        ("GET", "/studies/all", calls.studies),
        ("GET", "/studies/{study}", calls.study),
        ("POST", "/studies/{study}", calls.create_study),
        ("POST", "/studies/{study}/", calls.create_study),
        ("POST", "/submit/{study}", calls.submit),
        ("POST", "/submit/{study}/", calls.submit),
        ("GET", "/studies/{study}/analysis", calls.analyses),
        ("GET", "/studies/{study}/analysis/{analysis}", calls.analysis),
        ("GET", "/studies/{study}/analysis/{analysis}/files", calls.files),
        ("GET", "/studies/{study}/files/{object}", calls.file),
        ("PUT", "/studies/{study}/analysis/publish/{analysis}", calls.publish),
        ("PUT", "/studies/{study}/analysis/unpublish/{analysis}", calls.unpublish),
        ("PUT", "/studies/{study}/analysis/suppress/{analysis}", calls.suppress),
        ("GET", "/entities", calls.entities),
        ("GET", "/entities/", calls.entities),
        ("GET", "/entities/{object}", calls.entity),
    ]
    return [
        Route(path, _told_as_song(call), methods=[method], include_in_schema=False) for method, path, call in table
    ]


class Calls:
    """One method for each call."""

    def __init__(self, registry: EmbeddedRegistry, stored: Stored, gate: Gate) -> None:
        self._registry = registry
        self._stored = stored
        self._gate = gate

    async def is_alive(self, request: Request) -> Response:
        """Whether the registry answers."""
        await self._registry.studies()
        return _json(True)

    async def studies(self, request: Request) -> Response:
        """The ids of all studies."""
        return _json(await self._registry.studies())

    async def study(self, request: Request) -> Response:
        """One study."""
        return _json(await self._registry.study(request.path_params["study"]))

    async def create_study(self, request: Request) -> Response:
        """Create a study of the name in the path, which the body must repeat."""
        study = await self._may_change(request)
        document = await _body(request)
        if not isinstance(document, dict):
            raise Refusal(_BAD_PARAMETER, "The study is not a JSON object.")
        if document.get("studyId") != study:
            named = str(document.get("studyId"))[:60]
            raise Conflict(f"The studyId in the URL {study!r} should match the studyId {named!r} in the payload")
        await self._registry.create_study(study, document)
        return _json({"message": f"Successfully created study '{study}'"})

    async def submit(self, request: Request) -> Response:
        """Register an analysis."""
        study = await self._may_change(request)
        return _json({"analysisId": await self._registry.submit(study, await _body(request)), "status": "OK"})

    async def analyses(self, request: Request) -> Response:
        """The analyses of a study, those that are published where nothing else is asked."""
        named = request.query_params.get("analysisStates", AnalysisState.PUBLISHED).split(",")
        if wrong := sorted(set(named) - set(AnalysisState)):
            raise Refusal(_BAD_PARAMETER, f"The following are not AnalysisStates: {', '.join(wrong)[:200]!r}")
        states = [AnalysisState(name) for name in named]
        return _json(await self._registry.analyses(request.path_params["study"], states))

    async def analysis(self, request: Request) -> Response:
        """One analysis."""
        return _json(await self._registry.analysis(**_place(request)))

    async def files(self, request: Request) -> Response:
        """The files of an analysis."""
        return _json(await self._registry.files(**_place(request)))

    async def file(self, request: Request) -> Response:
        """One file."""
        return _json(await self._registry.file(request.path_params["study"], request.path_params["object"]))

    async def publish(self, request: Request) -> Response:
        """Publish an analysis, when every object is stored with the size and the MD5 that are registered."""
        await self._may_change(request)
        place = _place(request)
        await self._registry.check_not_suppressed(**place)
        files = await self._registry.files(**place)
        ignore_undefined = request.query_params.get("ignoreUndefinedMd5", "false").lower() == "true"
        held = await self._look_at(files)
        check_objects(place["analysis"], files, held, ignore_undefined=ignore_undefined)
        await self._registry.change_state(**place, state=AnalysisState.PUBLISHED)
        return _json({"message": f"AnalysisId {place['analysis']} successfully published"})

    async def unpublish(self, request: Request) -> Response:
        """Take an analysis back."""
        await self._may_change(request)
        place = _place(request)
        await self._registry.change_state(**place, state=AnalysisState.UNPUBLISHED)
        return _json({"message": f"AnalysisId {place['analysis']} successfully unpublished"})

    async def suppress(self, request: Request) -> Response:
        """Withdraw an analysis for good."""
        await self._may_change(request)
        place = _place(request)
        await self._registry.change_state(**place, state=AnalysisState.SUPPRESSED)
        return _json({"message": f"AnalysisId {place['analysis']} was suppressed"})

    async def entity(self, request: Request) -> Response:
        """One entity."""
        named = request.path_params["object"]
        found, _ = await self._registry.entities({"id": named}, offset=0, limit=1)
        if not found:
            raise Refusal(_UNKNOWN_ENTITY, f"The LegacyEntity with id {named!r} does not exist")
        return _json(found[0])

    async def entities(self, request: Request) -> Response:
        """A page of the entities that have all the values asked for."""
        asked = request.query_params
        wanted = {name: value for name, value in asked.items() if name not in _PAGING}
        fields = asked.getlist("fields")
        _check_names(_BAD_QUERY, "query", wanted)
        _check_names(_BAD_FILTER, "filter", fields)
        page = _number(asked.get("page"), least=0, default=0)
        size = min(_number(asked.get("size"), least=1, default=PAGE), LARGEST_PAGE)
        found, total = await self._registry.entities(wanted, offset=page * size, limit=size)
        if fields:
            found = [{name: value for name, value in entity.items() if name in fields} for entity in found]
        return _json(_page(found, total, page, size))

    async def _may_change(self, request: Request) -> str:
        """The study in the path, once it is known that the caller may change it."""
        study: str = request.path_params["study"]
        await self._gate.may_upload(bearer(request), study)
        return study

    async def _look_at(self, files: Sequence[Document]) -> dict[str, Held | None]:
        """What the store holds of each file."""
        ids = [file["objectId"] for file in files]
        found: dict[str, Held | None] = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            found.update(zip(some, await asyncio.gather(*map(self._stored.stored, some)), strict=True))
        return found


def _place(request: Request) -> dict[str, str]:
    return {"study": request.path_params["study"], "analysis": request.path_params["analysis"]}


def _check_names(fault: Fault, kind: str, names: Sequence[str] | dict[str, str]) -> None:
    if set(names) - set(COLUMNS):
        raise Refusal(
            fault,
            f"The {kind} parameters {','.join(sorted(names))[:200]!r} must be a subset of the following legal"
            f" {kind} parameters {','.join(COLUMNS)!r}",
        )


def _number(text: str | None, *, least: int, default: int) -> int:
    """A parameter of the page; as in Song, nonsense is no error."""
    try:
        number = int(text or "")
    except ValueError:
        return default
    return number if least <= number < 2**31 else default


def _page(content: Sequence[Document], total: int, page: int, size: int) -> Document:
    """A page of Spring Data."""
    pages = -(-total // size)
    order = {"sorted": True, "empty": False, "unsorted": False}
    return {
        "content": content,
        "pageable": {
            "sort": order,
            "pageNumber": page,
            "pageSize": size,
            "offset": page * size,
            "paged": True,
            "unpaged": False,
        },
        "last": page + 1 >= pages,
        "totalElements": total,
        "totalPages": pages,
        "size": size,
        "number": page,
        "sort": order,
        "first": page == 0,
        "numberOfElements": len(content),
        "empty": not content,
    }


async def _body(request: Request) -> object:
    """The JSON of the request's body."""
    body = bytearray()
    try:
        async for piece in bodies.pieces(request):
            body += piece
            if len(body) > LARGEST_PAYLOAD:
                raise Refusal(_TOO_LARGE, f"The payload is larger than {LARGEST_PAYLOAD} bytes.")
    except TimeoutError:
        raise Refusal(_TOO_SLOW, f"No data arrived for {bodies.SILENCE:g} s.") from None
    try:
        document: object = json.loads(body, parse_constant=_finite, parse_float=_finite)
        _check_depth(document)
    except (ValueError, RecursionError):
        why = f"it is not JSON, has a number that is too large, or is nested in more than {DEEPEST} levels"
        raise Refusal(_BAD_JSON, f"Unable to read the input payload: {why}.") from None
    return document


def _finite(text: str) -> float:
    """A number as the answers can hold it: there is no infinity in JSON."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _check_depth(document: object) -> None:
    """ValueError where lists and objects are nested in more than :data:`DEEPEST` levels."""
    level = [document]
    for _ in range(DEEPEST):
        level = [inner for one in level if isinstance(one, list) for inner in one] + [
            inner for one in level if isinstance(one, dict) for inner in one.values()
        ]
    if any(isinstance(one, list | dict) for one in level):
        raise ValueError("nested too deep")


def _told_as_song(call: Handler) -> Handler:
    """``call``, with its errors as documents of Song."""

    async def answer(request: Request) -> Response:
        try:
            return await call(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except Refusal as refusal:
            return _problem(request, refusal.fault, str(refusal))
        except ScoreError as error:
            log_trouble(error)
            fault = next(fault for kind, fault in _FAULTS if isinstance(error, kind))
            return _problem(request, fault, str(error), when_again(error))

    return answer


def _problem(request: Request, fault: Fault, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error document of Song."""
    now = datetime.now(UTC)
    document = {
        "errorId": fault.id,
        "httpStatusCode": fault.status,
        "httpStatusName": HTTPStatus(fault.status).name,
        "requestUrl": str(request.url),
        "datetime": f"{now.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z[UTC]",
        "timestamp": int(now.timestamp() * 1000),
        "message": f"[{fault.origin}::{fault.id}] - {message}",
        "debugMessage": "N/A",
        "stackTrace": [],
    }
    challenge = {"WWW-Authenticate": "Bearer"} if fault.status == 401 else {}
    return _json(document, fault.status, challenge | (headers or {}))


def _json(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, headers, "application/json")
