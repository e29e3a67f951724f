"""The calls that a client makes to Score and to Song. Protocol, sections 2 and 6.

Every call is made once; whoever calls decides what is worth repeating. The token goes to the two configured addresses
only, and redirects are not followed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from urllib3.response import BaseHTTPResponse

from score.client import records
from score.client.records import Record
from score.errors import Conflict, Expired, Forbidden, Invalid, NotFound, Refused, Unavailable
from score.protocol.wire import (
    FEATURES,
    SHORT_UPLOADS,
    Entity,
    EntityPage,
    Listed,
    Progress,
    Specification,
    Wire,
    from_json,
)
from score.transfer.http import (
    Http,
    Timeouts,
    last_modified,
    one_line,
    place,
    refusal_message,
    retry_after,
    service_error,
    store_error,
)
from score.transfer.outage import server_of

T = TypeVar("T")


class _Submitted(Wire, frozen=True):
    analysis_id: str


class _Published(Wire, frozen=True):
    message: str = ""


Query = Mapping[str, str | int | Sequence[str]]
"""Parameters of a call; several values are given one by one."""
PING_TIMEOUT = Timeouts(connect=5.0, read=5.0)
PAGE = 2000
LISTED = ("id", "fileName", "gnosId", "projectCode")
"""Fields of the files of a long list."""


@dataclass(frozen=True)
class Endpoint:
    """An address and the token for it."""

    http: Http
    url: str
    token: str = field(default="", repr=False)

    def call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        document: object = None,
        timeouts: Timeouts | None = None,
    ) -> BaseHTTPResponse:
        """A good answer, read. Raises the error for a bad one, with the server's own message."""
        url = f"{self.url}{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = {"Accept": "application/json, text/plain, */*", "Accept-Encoding": "gzip, deflate"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        body = None
        if document is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(document).encode()
        elif method in ("POST", "PUT"):
            headers["Content-Length"] = "0"
        response = self.http.request(method, url, headers=headers, body=body, timeouts=timeouts)
        if response.status >= 300:
            raise self._error(response, method, path)
        return response

    def read(
        self, kind: type[T], method: str, path: str, query: Query | None = None, *, document: object = None
    ) -> T:
        """A good answer as a document. Raises Unavailable where it is none of that kind."""
        return self.parse(kind, self.call(method, path, query, document=document).data, method, path)

    def parse(self, kind: type[T], data: bytes, method: str, path: str) -> T:
        """The body of a good answer as a document. Raises Unavailable where it is none of that kind."""
        try:
            return from_json(kind, data)
        except ValueError:
            raise Unavailable(f"{method} {place(self.url + path)}: the answer makes no sense.") from None

    def _error(self, response: BaseHTTPResponse, method: str, path: str) -> Exception:
        message = refusal_message(response)
        after = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
        what = f"{method} {place(self.url + path)}"
        error = service_error(response.status, message, what, after, response.headers.get("X-Request-Id", ""))
        if isinstance(error, Unavailable):
            error.server = server_of(self.url)
        if isinstance(error, Forbidden) and not self.token:
            error.hint = "No access token is set: ACCESSTOKEN, or accessToken in the settings."
        return error


def _id(text: str) -> str:
    """An id as a piece of a path. Raises Invalid for one that servers take for several, or for the folder above."""
    if "/" in text or text in (".", ".."):
        raise Invalid(
            f"{text[:60]!r} is the id of no object, study or analysis.", hint="Check the id; it has no slash."
        )
    return quote(text, safe="")


class Score:
    """The calls of a Score server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._to = endpoint
        self.shortens = False
        """Whether the server said, with its profile, that it takes short uploads: :meth:`begin`, and parts that
        complete. The reference's does not."""

    def profile(self) -> str:
        """How clients upload: ``s3`` or ``az``."""
        answer = self._to.call("GET", "/profile")
        self.shortens = SHORT_UPLOADS in answer.headers.get(FEATURES, "")
        return answer.data.decode("utf-8", "replace").strip().strip('"')

    def ping(self) -> None:
        """Fetch the sentinel from the store, through the server's URL. Raises what stands in the way."""
        url = self.ping_url()
        response = self._to.http.request("GET", url, timeouts=PING_TIMEOUT)
        refused = store_error(response, "GET", url) if response.status >= 300 else None
        response.close()
        if response.status == 404:
            raise Refused(
                f"GET {place(url)}: the store can be reached, but has no such object to test with.",
                hint="Tell the operator that the sentinel is missing; --verify-connection false goes on without it.",
            )
        if isinstance(refused, Expired):
            raise Unavailable(f"{refused.message}; the URL is new, so the clock of the server may be wrong.")
        if refused is not None:
            raise Unavailable(refused.message)

    def ping_url(self) -> str:
        """A URL of the sentinel in the store, good for some minutes."""
        return self._to.call("GET", "/download/ping", timeouts=PING_TIMEOUT).data.decode("utf-8", "replace").strip()

    def test_upload(self, object_id: str) -> None:
        """Raises Unauthenticated or Forbidden where the object may not be uploaded, NotFound where it is unknown."""
        self._to.call("GET", f"/upload/test/{_id(object_id)}")

    def listing(self) -> list[Listed]:
        """Every object of the store."""
        return self._to.read(list[Listed], "GET", "/listing")

    def exists(self, object_id: str) -> bool:
        """Whether the object is in the store."""
        return self._exists(object_id).data.strip() == b"true"

    def completed(self, object_id: str) -> datetime | None:
        """When the object was uploaded to the end; None where it was not, or where the server does not tell, as
        those of the reference."""
        return last_modified(self._exists(object_id))

    def _exists(self, object_id: str) -> BaseHTTPResponse:
        return self._to.call("GET", f"/upload/{_id(object_id)}")

    def status(self, object_id: str, size: int) -> Progress:
        """The upload in progress. NotFound where there is none, Conflict where it has another size."""
        path = f"/upload/{_id(object_id)}/status"
        data = self._to.call("GET", path, {"fileSize": size}).data
        if data.strip() in (b"", b"null"):  # the reference with Azure, which keeps no state
            raise NotFound(
                f"{object_id}: the server knows of no upload in progress.", hint="Run the same command again."
            )
        return self._to.parse(Progress, data, "GET", path)

    def start(self, object_id: str, size: int, md5: str, *, overwrite: bool) -> Specification:
        """Start an upload; it replaces one in progress."""
        query: dict[str, str | int] = {"fileSize": size, "overwrite": str(overwrite).lower(), "md5": md5}
        return self._started(f"/upload/{_id(object_id)}/uploads", query)

    def begin(self, object_id: str, size: int, md5: str) -> Specification:
        """Start an upload where neither the object nor an upload of it is there. Raises what stands against it."""
        return self._started(f"/upload/{_id(object_id)}/begin", {"fileSize": size, "md5": md5})

    def _started(self, path: str, query: Query) -> Specification:
        with _hinting(_unpublishing):
            return self._to.read(Specification, "POST", path, query)

    def finish_part(
        self,
        object_id: str,
        upload_id: str,
        number: int,
        md5: str,
        etag: str,
        *,
        size: int | None = None,
        complete: bool = False,
    ) -> bool:
        """Report a part that the store has; ``size``: bytes of the file, of one that :meth:`begin` began. With
        ``complete``, the last one completes the upload, where the server can do that; true where it did."""
        query: dict[str, str | int] = {"uploadId": upload_id, "partNumber": number, "md5": md5, "etag": etag}
        if size is not None and self.shortens:
            query["fileSize"] = size
        if complete and self.shortens:
            query["complete"] = "true"
        return self._to.call("POST", f"/upload/{_id(object_id)}/parts", query).data.strip() == b"completed"

    def complete(self, object_id: str, upload_id: str) -> None:
        """Make the object of its parts. May be repeated."""
        with _hinting(_unpublishing):
            self._to.call("POST", f"/upload/{_id(object_id)}", {"uploadId": upload_id})

    def cancel(self, object_id: str, upload_id: str) -> None:
        """Drop an upload in progress. NotFound where there is none. The reference's server drops whichever is."""
        self._to.call("DELETE", f"/upload/{_id(object_id)}", {"uploadId": upload_id})

    def download(
        self, object_id: str, offset: int = 0, length: int = -1, *, external: bool = False, urls: bool = True
    ) -> Specification:
        """The specification of an object, or of a range of it (``length`` -1: to the end). Raises Conflict where its
        analysis is not published, but without ``urls``."""
        query: dict[str, str | int] = {"offset": offset, "length": length}
        if external:
            query["external"] = "true"
        if not urls:
            query["exclude-urls"] = "true"
        with _hinting(_publishing) if urls else nullcontext():
            return self._to.read(Specification, "GET", f"/download/{_id(object_id)}", query)


@contextmanager
def _hinting(hint: Callable[[str], str]) -> Iterator[None]:
    """For a call whose refusal may be about the state of an analysis: what ``hint`` makes of its message, if
    anything, is what to do."""
    try:
        yield
    except Conflict as error:
        error.hint = hint(error.message) or error.hint
        raise


_WITHDRAWN = "It was withdrawn; ask whoever owns the analysis."


def _unpublishing(message: str) -> str:
    """What to do where the refusal of an upload is that its analysis takes no files any more; else empty."""
    if "SUPPRESSED" in message:
        return _WITHDRAWN
    if " PUBLISHED" in message:
        return "Published files stay as they are: register a new analysis, or have this one unpublished."
    return ""


def _publishing(message: str) -> str:
    """What to do where the refusal of a download is that its analysis is not published, or, as in the reference's
    answers, nothing; else empty."""
    publish = "score-client publish --study-id ID --analysis-id ID, or ask whoever owns the analysis."
    if "SUPPRESSED" in message:
        return _WITHDRAWN
    if "PUBLISHED" in message:
        return f"Publish the analysis: {publish}"
    return f"Is its analysis published? If not: {publish}" if "the server answered 400" in message else ""


class Song:
    """The calls of a metadata service."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._to = endpoint

    def entity(self, object_id: str) -> Entity:
        """The registered file of an object."""
        return self._to.read(Entity, "GET", f"/entities/{_id(object_id)}")

    def page(self, number: int, *, study: str = "") -> EntityPage:
        """Page ``number``, from 0, of all files that are registered, or of those of a study."""
        query: dict[str, str | int | Sequence[str]] = {"fields": LISTED, "size": PAGE, "page": number}
        if study:
            query["projectCode"] = study
        return self._to.read(EntityPage, "GET", "/entities", query)

    def document(self, study: str, analysis: str) -> dict[str, Any]:
        """Song's document of an analysis: its state, times, and the records of its files (``files``)."""
        return self._to.read(dict[str, Any], "GET", f"/studies/{_id(study)}/analysis/{_id(analysis)}")

    def is_published(self, study: str, analysis: str) -> bool:
        """Whether an analysis is published."""
        return self.document(study, analysis).get("analysisState") == "PUBLISHED"

    def entities(self, analysis: str, study: str | None = None) -> Iterator[Entity]:
        """The files of an analysis, all pages, no id twice."""
        query: dict[str, str | int] = {"gnosId": analysis}
        if study is not None:
            query["projectCode"] = study
        seen: set[str] = set()
        for page in count():
            found = self._to.read(EntityPage, "GET", "/entities", {**query, "size": PAGE, "page": page})
            before = len(seen)
            for entity in found.content:
                if entity.id not in seen:
                    seen.add(entity.id)
                    yield entity
            if found.last or len(seen) == before:  # a page that brings nothing new is the end, whatever it says
                return

    def file(self, study: str, object_id: str) -> Record | None:
        """The record of a file; None where Song does not give one."""
        try:
            data = self._to.call("GET", f"/studies/{_id(study)}/files/{_id(object_id)}").data
            found = json.loads(data)
        except (Invalid, NotFound, ValueError):
            return None
        return records.read(found) if isinstance(found, dict) else None

    def studies(self) -> list[str]:
        """The ids of all studies."""
        return self._to.read(list[str], "GET", "/studies/all")

    def create_study(self, study: str) -> None:
        """Create a study."""
        document = {"studyId": study, "name": study, "description": "", "organization": "", "info": {}}
        self._to.call("POST", f"/studies/{_id(study)}/", document=document)

    def submit(self, study: str, payload: dict[str, object]) -> str:
        """Submit an analysis; gives its id."""
        return self._to.read(_Submitted, "POST", f"/submit/{_id(study)}", document=payload).analysis_id

    def files(self, study: str, analysis: str) -> list[Record]:
        """The records of the files of an analysis."""
        path = f"/studies/{_id(study)}/analysis/{_id(analysis)}/files"
        return [records.read(file) for file in self._to.read(list[dict[str, Any]], "GET", path)]

    def publish(self, study: str, analysis: str) -> str:
        """Publish an analysis; gives Song's message. Raises Conflict where the store does not hold its files, or the
        analysis is of another study or withdrawn."""
        try:
            path = f"/studies/{_id(study)}/analysis/publish/{_id(analysis)}"
            return one_line(self._to.read(_Published, "PUT", path).message, 500)
        except Conflict as error:
            if "storage" in error.message.partition(": ")[2]:  # what the server says, behind its address
                hint = "Upload the files that are named (score-client upload; --force replaces others)"
                hint += ", then publish again."
            else:
                hint = "Check --study-id and --analysis-id, and that the analysis was not withdrawn."
            raise Conflict(error.message, hint=hint) from error
