"""The metadata service of Overture: Song. Protocol, section 6. Its reads are public, so no credential is sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from msgspec import field
from yarl import URL

from score.errors import NotFound, Refused, Unavailable
from score.metadata.base import Analysis, AnalysisState, RegisteredFile
from score.protocol.onward import ONWARD
from score.protocol.wire import Entity, EntityPage, Wire, from_json

T = TypeVar("T")

_WAITS = (0.2, 0.5, 1.0)
"""Seconds before each repetition of a call that failed in a way that may pass."""
_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
_LARGEST = 64 * 1024 * 1024
"""Bytes of an answer; an analysis has a few hundred for each of its files."""

_PAGE = 2000
"""Entities of a page; Song gives no more."""
_MOST_PAGES = 50


class _Analysis(Wire, frozen=True):
    """An analysis; of what may be megabytes about its files only the state is looked at."""

    state: AnalysisState = field(name="analysisState")


class _Kind(Wire, frozen=True):
    name: str = ""


class _Entry(_Analysis, frozen=True):
    """An analysis in a list; of its files only their number counts."""

    id: str = field(name="analysisId")
    files: list[object] = field(default_factory=list)
    kind: _Kind = field(default_factory=_Kind, name="analysisType")
    updated: str | None = field(default="", name="updatedAt")


class _Entries(Wire, frozen=True):
    analyses: list[_Entry]
    total: int = field(name="totalAnalyses")


class _File(Wire, frozen=True):
    object_id: str
    name: str = field(name="fileName")
    size: int = field(name="fileSize")
    md5: str = field(name="fileMd5sum")
    access: str | None = field(default="", name="fileAccess")


class Song:
    """:class:`score.metadata.base.Registry` on the Song at ``url``. Must be made within a running event loop."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        """``tls`` says whom to believe; None: the authorities of the system."""
        self.repeated = 0
        """How often calls were repeated."""
        self._url = url.rstrip("/")
        self._session = aiohttp.ClientSession(
            timeout=_TIMEOUT,
            headers={"Accept": "application/json"},
            connector=aiohttp.TCPConnector(ssl=tls or True),
        )

    async def entity(self, object_id: str) -> Entity:
        """The registered file of an object. NotFound where there is none."""
        what = f"object {object_id}"
        try:
            return await self._ask(Entity, f"/entities/{_piece(object_id)}", what, "is no entity", unknown=[404])
        except NotFound:
            raise NotFound(
                f"The object {object_id} is not registered in Song.", hint="Submit its analysis first."
            ) from None

    async def bundle(self, analysis: str) -> list[Entity]:
        """The registered files of an analysis, all pages of them."""
        found: list[Entity] = []
        what = f"the files of analysis {analysis}"
        for number in range(_MOST_PAGES):
            query = urlencode({"gnosId": analysis, "size": _PAGE, "page": number})
            page = await self._ask(EntityPage, f"/entities?{query}", what, "is no page of entities")
            found += page.content
            if page.last or not page.content:
                return found
        raise Refused(f"Song has more than {_PAGE * _MOST_PAGES} entities for {what}.")

    async def analysis_state(self, study: str, analysis: str) -> AnalysisState:
        """The publication state of an analysis. NotFound where the study has no such analysis."""
        what = f"analysis {analysis} of study {study}"
        path = f"/studies/{_piece(study)}/analysis/{_piece(analysis)}"
        wrong = "has no publication state that is known"
        return (await self._ask(_Analysis, path, what, wrong, unknown=[400, 404])).state

    async def studies(self) -> list[str]:
        """The ids of all studies."""
        return await self._ask(list[str], "/studies/all", "the list of studies", "is no list")

    async def list_analyses(
        self, study: str, states: Sequence[AnalysisState], *, offset: int, limit: int
    ) -> tuple[list[Analysis], int]:
        """Some of a study's analyses in one of ``states``, in Song's order, and how many there are in all."""
        what = f"the analyses of study {study}"
        query = urlencode({"analysisStates": ",".join(states), "limit": limit, "offset": offset})
        path = f"/studies/{_piece(study)}/analysis/paginated?{query}"
        page = await self._ask(_Entries, path, what, "is no list of analyses", unknown=[404])
        found = [
            Analysis(one.id, one.state, len(one.files), one.kind.name, one.updated or "") for one in page.analyses
        ]
        return found, page.total

    async def list_files(self, study: str, analysis: str) -> list[RegisteredFile]:
        """The files of an analysis."""
        what = f"the files of analysis {analysis} of study {study}"
        path = f"/studies/{_piece(study)}/analysis/{_piece(analysis)}/files"
        files = await self._ask(list[_File], path, what, "is no list of files", unknown=[400, 404])
        return [RegisteredFile(one.object_id, one.name, one.size, one.md5, one.access or "") for one in files]

    async def probe(self) -> str:
        """Empty when Song answers, else what is wrong."""
        try:
            status, _ = await self._get("/isAlive", "itself", attempts=1)
        except Unavailable as error:
            return str(error)
        if status >= 300:
            return f"Song at {self._url} answers {status} to /isAlive. Check metadata.url."
        return ""

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _ask(self, kind: type[T], path: str, what: str, wrong: str, unknown: Collection[int] = ()) -> T:
        """The document of an answer. NotFound where its status is one of ``unknown``, Refused for another 4xx, which
        says nothing about the thing asked for, or a redirection; Unavailable where it is none: ``wrong`` says so."""
        status, body = await self._get(path, what)
        if status in unknown:
            raise NotFound(f"Song does not know {what}.")
        if status >= 300:
            hint = "Its reads must be public." if status >= 400 else "Set metadata.url to where it sends us."
            raise Refused(f"Song refuses to tell about {what}: {status}.", hint=hint)
        try:
            return from_json(kind, body)
        except ValueError:
            raise Unavailable(f"Song's answer about {what} {wrong}.") from None

    async def _get(self, path: str, what: str, attempts: int = len(_WAITS) + 1) -> tuple[int, bytes]:
        """Status and body of an answer that is no 5xx; Unavailable when attempts are used up."""
        problem = ""
        for attempt in range(attempts):
            if attempt:
                self.repeated += 1
                await asyncio.sleep(_WAITS[attempt - 1])
            try:
                url = URL(self._url + path, encoded=True)
                async with self._session.get(url, headers=ONWARD.get(), allow_redirects=False) as answer:
                    body = await _whole(answer)
                    if body is None:
                        problem = "its answer has no end"
                    elif answer.status < 500 and answer.status != 429:
                        return answer.status, body
                    else:
                        problem = f"it answers {answer.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = "it does not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        raise Unavailable(
            f"Song at {self._url} cannot tell about {what}: {problem}.",
            hint="Try again later, or check metadata.url.",
        )


def _piece(name: str) -> str:
    """``name`` as one piece of a path. Refused for one that servers take for the folder above."""
    if name in (".", ".."):
        raise Refused(f"{name!r} is the name of no object, study or analysis.")
    return quote(name, safe="")


async def _whole(answer: aiohttp.ClientResponse) -> bytes | None:
    """The body of an answer, None where it goes on beyond any sense."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > _LARGEST:
            return None
    return bytes(body)
