"""A fake Song: the part of Song 5.1 that Score's server, Score's clients and publishing need, as Song answers it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

from score.protocol.digests import is_md5
from score.protocol.ids import object_id as make_object_id
from score.testing.service import FakeService, Refusal

_ENTITY_FIELDS = {"id", "gnosId", "fileName", "projectCode", "access"}
_STATES = {"PUBLISHED", "UNPUBLISHED", "SUPPRESSED", "404", "400"}
_SCORE_ACCEPTS = "text/plain, application/json, application/*+json, */*"
_SCORE_OBJECT_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-_]{1,34}[a-zA-Z0-9]\Z")
_TRIES = 5


@dataclass(frozen=True, slots=True)
class SongFile:
    """A registered file; ``size`` in bytes, ``md5`` in hex."""

    object_id: str
    analysis: str
    study: str
    name: str
    size: int
    md5: str
    access: str

    @property
    def entity(self) -> dict[str, str]:
        """The file as ``/entities`` shows it."""
        return {
            "id": self.object_id,
            "gnosId": self.analysis,
            "fileName": self.name,
            "projectCode": self.study,
            "access": self.access,
        }

    @property
    def document(self) -> dict[str, str | int]:
        """The file as ``/studies`` shows it."""
        return {
            "objectId": self.object_id,
            "studyId": self.study,
            "analysisId": self.analysis,
            "fileName": self.name,
            "fileSize": self.size,
            "fileType": self.name.rpartition(".")[2].upper(),
            "fileMd5sum": self.md5,
            "fileAccess": self.access,
            "dataType": "x",
        }


class _SongError(Refusal):
    """An error as Song words it: ``[place::error id] - text``."""

    def __init__(self, status: HTTPStatus, place: str, error_id: str, text: str) -> None:
        super().__init__(f"[{place}::{error_id}] - {text}")
        self._status = status
        self._error_id = error_id

    def response(self, request: web.Request) -> web.Response:
        now = datetime.now(UTC)
        document: dict[str, Any] = {
            "errorId": self._error_id,
            "httpStatusCode": self._status.value,
            "httpStatusName": self._status.name,
            "requestUrl": str(request.url),
            "datetime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ[UTC]"),
            "timestamp": int(now.timestamp() * 1000),
            "message": str(self),
            "debugMessage": "N/A",
            "stackTrace": [],
        }
        return web.json_response(document, status=self._status.value)


class FakeSong(FakeService):
    """A Song whose files and publication states are set by the test. Reads need no token, as in Song.

    Publishing asks the Score at ``score_url``, with ``score_token`` as bearer, as Song does (calls
    ``GET /upload/{id}`` and ``GET /download/{id}?…&exclude-urls=true``); a 503 is asked again at once, four times.
    """

    def __init__(self) -> None:
        super().__init__()
        self.score_url = ""
        self.score_token = ""
        self._files: dict[str, SongFile] = {}
        self._by_analysis: dict[str, dict[str, SongFile]] = {}
        self._documents: dict[tuple[str, str], str] = {}
        self._states: dict[str, str] = {}

    def register(
        self,
        name: str,
        *,
        analysis: str,
        study: str = "TEST-CA",
        size: int = 0,
        md5: str = "",
        access: str = "open",
        object_id: str | None = None,
    ) -> SongFile:
        """Register a file; its object id follows Song's rule unless given. The analysis starts as UNPUBLISHED."""
        file = SongFile(object_id or make_object_id(analysis, name), analysis, study, name, size, md5, access)
        self._files[file.object_id] = self._by_analysis.setdefault(analysis, {})[file.object_id] = file
        self._change_state(analysis, self._states.get(analysis, "UNPUBLISHED"))
        return file

    def set_state(self, analysis: str, state: str) -> None:
        """PUBLISHED, UNPUBLISHED, SUPPRESSED, or ``404`` or ``400``: the analysis is answered with that error."""
        if state not in _STATES:
            raise ValueError(f"{state} is none of {sorted(_STATES)}")
        self._change_state(analysis, state)

    def state(self, analysis: str) -> str:
        """The publication state."""
        return self._states[analysis]

    def routes(self) -> Iterable[web.RouteDef]:
        song = "/studies/{study}/analysis"
        return [
            web.get("/isAlive", self._is_alive),
            web.get("/entities", self._entities),
            web.get("/entities/", self._entities),
            web.get("/entities/{id}", self._entity),
            web.get("/studies/all", self._studies),
            web.get("/studies/{study}/files/{id}", self._file),
            web.get(song + "/paginated", self._analyses),
            web.get(song + "/{analysis}", self._analysis),
            web.get(song + "/{analysis}/files", self._analysis_files),
            web.put(song + "/publish/{analysis}", self._publish),
            web.put(song + "/unpublish/{analysis}", self._unpublish),
            web.put(song + "/suppress/{analysis}", self._suppress),
        ]

    async def _is_alive(self, request: web.Request) -> web.Response:
        return web.Response(text="true")

    async def _studies(self, request: web.Request) -> web.Response:
        return web.json_response(sorted({file.study for file in self._files.values()}))

    async def _entity(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info["id"])
        if file is None:
            text = "The LegacyEntity with id '%s' does not exist"
            raise _SongError(HTTPStatus.NOT_FOUND, "LegacyEntityService", "legacy.entity.not.found", text)
        return web.json_response(file.entity)

    async def _entities(self, request: web.Request) -> web.Response:
        asked = request.query
        if unknown := set(asked) - _ENTITY_FIELDS - {"fields", "page", "size"}:
            text = f"The query parameters {sorted(unknown)} are illegal"
            raise _SongError(HTTPStatus.BAD_REQUEST, "LegacyEntityService", "illegal.query.parameter", text)
        fields = asked.getall("fields", [])
        if illegal := set(fields) - _ENTITY_FIELDS:
            text = f"The filter parameters {sorted(illegal)} are illegal"
            raise _SongError(HTTPStatus.BAD_REQUEST, "LegacyEntityService", "illegal.filter.parameter", text)
        wanted = {name: asked[name] for name in _ENTITY_FIELDS & set(asked)}
        found = [file.entity for _, file in sorted(self._files.items()) if wanted.items() <= file.entity.items()]
        shown = [{name: entity[name] for name in fields or entity} for entity in found]
        return web.json_response(_page(shown, int(asked.get("page", 0)), min(int(asked.get("size", 10)), 2000)))

    async def _file(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info["id"])
        if file is None or file.study != request.match_info["study"]:
            text = "The File with id '%s' does not exist"
            raise _SongError(HTTPStatus.NOT_FOUND, "FileService", "file.not.found", text)
        return web.json_response(file.document)

    async def _analyses(self, request: web.Request) -> web.Response:
        study, asked = request.match_info["study"], request.query
        if study not in {file.study for file in self._files.values()}:
            text = f"The studyId '{study}' does not exist"
            raise _SongError(HTTPStatus.NOT_FOUND, "StudyService", "study.id.does.not.exist", text)
        states = asked.get("analysisStates", "PUBLISHED").split(",")
        names = {file.analysis for file in self._files.values() if file.study == study}
        found = sorted(name for name in names if self._states[name] in states)
        first, limit = int(asked["offset"]), int(asked["limit"])
        shown = [self._document(study, name) for name in found[first : first + limit]]
        page = {"analyses": shown, "totalAnalyses": len(found), "currentTotalAnalyses": len(shown)}
        return web.json_response(page)

    async def _analysis(self, request: web.Request) -> web.Response:
        self._files_of(request)
        which = request.match_info["study"], request.match_info["analysis"]
        if which not in self._documents:
            self._documents[which] = json.dumps(self._document(*which))
        return web.json_response(text=self._documents[which])

    def _document(self, study: str, analysis: str) -> dict[str, Any]:
        """An analysis with its files."""
        return {
            "analysisId": analysis,
            "studyId": study,
            "analysisState": self._states[analysis],
            "createdAt": "2026-11-22T01:50:35.013154",
            "updatedAt": "2026-11-22T01:50:35.013189",
            "firstPublishedAt": None,
            "publishedAt": None,
            "analysisStateHistory": [],
            "samples": [],
            "files": [file.document for file in self._by_analysis.get(analysis, {}).values()],
            "analysisType": {"name": "variantCall", "version": 1},
            "experiment": {"variantCallingTool": "t", "matchedNormalSampleSubmitterId": "s"},
        }

    async def _analysis_files(self, request: web.Request) -> web.Response:
        return web.json_response([file.document for file in self._files_of(request)])

    async def _publish(self, request: web.Request) -> web.Response:
        analysis = request.match_info["analysis"]
        undefined_is_fine = request.query.get("ignoreUndefinedMd5", "").lower() == "true"
        await self._check_storage(self._files_of(request), undefined_is_fine)
        self._change_state(analysis, "PUBLISHED")
        return web.json_response({"message": f"AnalysisId {analysis} successfully published"})

    async def _unpublish(self, request: web.Request) -> web.Response:
        return self._change(request, "UNPUBLISHED", "unpublished")

    async def _suppress(self, request: web.Request) -> web.Response:
        return self._change(request, "SUPPRESSED", "suppressed")

    def _change_state(self, analysis: str, state: str) -> None:
        self._states[analysis] = state
        self._documents.clear()

    def _change(self, request: web.Request, state: str, done: str) -> web.Response:
        self._files_of(request)
        analysis = request.match_info["analysis"]
        self._change_state(analysis, state)
        return web.json_response({"message": f"AnalysisId {analysis} successfully {done}"})

    def _files_of(self, request: web.Request) -> list[SongFile]:
        """The files of the analysis asked for, or Song's error."""
        study, analysis = request.match_info["study"], request.match_info["analysis"]
        if all(file.study != study for file in self._files.values()):
            text = "The studyId '%s' does not exist"
            raise _SongError(HTTPStatus.NOT_FOUND, "StudyService", "study.id.does.not.exist", text)
        if self._states.get(analysis, "404") == "404":
            text = "The analysisId '%s' was not found"
            raise _SongError(HTTPStatus.NOT_FOUND, "AnalysisService", "analysis.id.not.found", text)
        files = list(self._by_analysis.get(analysis, {}).values())
        if self._states[analysis] == "400" or all(file.study != study for file in files):
            text = "The analysisId '%s' is not related to the input studyId '%s'"
            raise _SongError(HTTPStatus.BAD_REQUEST, "AnalysisService", "entity.not.related.to.study", text)
        return files

    async def _check_storage(self, files: list[SongFile], undefined_is_fine: bool) -> None:
        """Ask Score about every file, in Song's order, and compare sizes and MD5s as Song does."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            for file in files:
                if not await self._is_uploaded(session, file):
                    text = (
                        "The following storage objectIds must be uploaded to the storage server "
                        "before the analysisId %s can be published: %s"
                    )
                    raise _SongError(HTTPStatus.CONFLICT, "AnalysisServiceImpl", "missing.storage.objects", text)
            stored = [await self._stored(session, file) for file in files]
        pairs = list(zip(files, stored, strict=True))
        if any(found["objectSize"] != file.size for file, found in pairs):
            text = "The following file objectIds have mismatching object sizes in the storage server: [%s]."
            raise _SongError(HTTPStatus.CONFLICT, "AnalysisService", "mismatching.storage.object.sizes", text)
        for file, found in pairs:
            md5 = found.get("objectMd5")
            if md5 != file.md5 and not (md5 is None and undefined_is_fine):
                text = "Found files with a mismatching md5 checksum in the storage server."
                raise _SongError(HTTPStatus.CONFLICT, "AnalysisService", "mismatching.storage.object.checksums", text)

    async def _is_uploaded(self, session: aiohttp.ClientSession, file: SongFile) -> bool:
        text = await self._ask_score(session, f"/upload/{quote(file.object_id)}")
        if text.strip().lower() not in ("true", "false"):
            said = "The following storage service response cannot be converted to a boolean: %s"
            raise _SongError(HTTPStatus.BAD_GATEWAY, "StorageService", "storage.service.error", said)
        return text.strip().lower() == "true"

    async def _stored(self, session: aiohttp.ClientSession, file: SongFile) -> dict[str, Any]:
        """What Score says of a stored object."""
        if not await self._is_uploaded(session, file):
            text = "The object with objectId '%s' does not exist in the storage server"
            raise _SongError(HTTPStatus.NOT_FOUND, "StorageService", "storage.object.not.found", text)
        target = f"/download/{quote(file.object_id)}?offset=0&length=-1&exclude-urls=true"
        text = await self._ask_score(session, target)
        if not (document := _specification(text)):
            text = "The validation of the storage download response for objectId '%s' failed: %s"
            error_id = "invalid.storage.download.response"
            raise _SongError(HTTPStatus.INTERNAL_SERVER_ERROR, "StorageService", error_id, text)
        return document

    async def _ask_score(self, session: aiohttp.ClientSession, target: str) -> str:
        """A call to Score. Only a 503 is asked again; any other failure is Song's own ``unknown.error``."""
        headers = {"Accept": _SCORE_ACCEPTS}
        if self.score_token:
            headers["Authorization"] = f"Bearer {self.score_token}"
        status = 0
        for _ in range(_TRIES):
            try:
                async with session.get(self.score_url + target, headers=headers) as answer:
                    status = answer.status
                    if answer.ok:
                        return await answer.text()
            except aiohttp.ClientError:
                break
            if status != HTTPStatus.SERVICE_UNAVAILABLE:
                break
        raise _SongError(HTTPStatus.INTERNAL_SERVER_ERROR, "StorageService", "unknown.error", f"Score said {status}")


def _specification(text: str) -> dict[str, Any] | None:
    """Score's answer to a download, where Song takes it as valid."""
    try:
        document = json.loads(text)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    size, md5 = document.get("objectSize"), document.get("objectMd5")
    valid = (
        _SCORE_OBJECT_ID.match(str(document.get("objectId", "")))
        and type(size) is int
        and size > 0
        and (md5 is None or is_md5(str(md5)))
    )
    return document if valid else None


def _page(content: list[dict[str, str]], number: int, size: int) -> dict[str, Any]:
    """One page of a list, as Spring shows it."""
    shown = content[number * size : (number + 1) * size]
    pages = -(-len(content) // size)
    order = {"sorted": True, "empty": False, "unsorted": False}
    return {
        "content": shown,
        "pageable": {
            "sort": order,
            "pageNumber": number,
            "pageSize": size,
            "offset": number * size,
            "paged": True,
            "unpaged": False,
        },
        "last": number + 1 >= pages,
        "totalElements": len(content),
        "totalPages": pages,
        "size": size,
        "number": number,
        "sort": order,
        "first": number == 0,
        "numberOfElements": len(shown),
        "empty": not shown,
    }
