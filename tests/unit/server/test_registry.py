"""The embedded registry over HTTP: Song's documents, Song's errors."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import urllib3
from starlette.applications import Starlette

from score.errors import Forbidden, Unauthenticated, Unavailable
from score.metadata.base import Analysis, AnalysisState
from score.metadata.embedded import EmbeddedRegistry
from score.protocol.ids import is_uuid, object_id
from score.server.registry import registry_routes
from score.testing.serving import Serving

EMPTY_MD5 = hashlib.md5(b"").hexdigest()

STUDY = "TEST-CA"
NOBODY = "00000000-0000-4000-8000-00000000ffff"
ENTITY = ["id", "gnosId", "fileName", "projectCode", "access"]


class Objects:
    """What lies in the store, as a test says."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[int, str | None]] = {}
        self.away = False

    async def stored(self, object_id: str) -> tuple[int, str | None] | None:
        if self.away:
            raise Unavailable("The store is away.")
        return self.held.get(object_id)


class Tokens:
    """Off, or one token for one study."""

    def __init__(self) -> None:
        self.on = False

    async def may_upload(self, token: str | None, study: str) -> None:
        if self.on and token is None:
            raise Unauthenticated("No token.")
        if self.on and (token, study) != ("good", STUDY):
            raise Forbidden("That token may not.")


class Http:
    """Calls of one server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(retries=False, timeout=30)

    def call(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        return self._pool.request(method, self._url + path, redirect=False, **options)

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        return self.call("GET", path)

    def post(self, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        return self.call("POST", path, **options)

    def close(self) -> None:
        self._pool.clear()


class Site:
    """A registry that is served, and what surrounds it."""

    def __init__(self, folder: Path) -> None:
        self.objects = Objects()
        self.tokens = Tokens()
        self._registry = EmbeddedRegistry(folder)
        self._serving = Serving(Starlette(routes=registry_routes(self._registry, self.objects, self.tokens)))
        self.http = Http(self._serving.url)

    def __enter__(self) -> Self:
        self._serving.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.http.close()
        self._serving.__exit__(*raised)
        asyncio.run(self._registry.close())

    def submit(self, *names: str, **more: object) -> str:
        self.http.post(f"/studies/{STUDY}/", json={"studyId": STUDY})
        answer = self.http.post(f"/submit/{STUDY}", json=payload(*names) | more)
        assert answer.status == 200, answer.data
        return str(answer.json()["analysisId"])

    def store(self, analysis: str, *names: str, size: int = 5, md5: str | None = EMPTY_MD5) -> None:
        for name in names:
            self.objects.held[object_id(analysis, name)] = (size, md5)

    def listed(self) -> list[Analysis]:
        """The unpublished analyses, as the page shows them."""
        states = [AnalysisState.UNPUBLISHED]
        return asyncio.run(self._registry.list_analyses(STUDY, states, offset=0, limit=10))[0]

    def put(self, action: str, analysis: str, **options: Any) -> Any:
        return self.http.call("PUT", f"/studies/{STUDY}/analysis/{action}/{analysis}", **options)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as site:
        yield site


def payload(*names: str) -> dict[str, Any]:
    files = [
        {
            "dataType": "x",
            "fileName": name,
            "fileSize": 5,
            "fileMd5sum": EMPTY_MD5,
            "fileAccess": "open",
            "fileType": "TXT",
        }
        for name in names
    ]
    return {"studyId": STUDY, "analysisType": {"name": "variantCall"}, "files": files}


def check_error(answer: Any, status: int, id: str) -> str:
    """The message of an error document, which must be Song's in every field."""
    assert answer.status == status, answer.data
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert list(document) == [
        "errorId",
        "httpStatusCode",
        "httpStatusName",
        "requestUrl",
        "datetime",
        "timestamp",
        "message",
        "debugMessage",
        "stackTrace",
    ]
    assert (document["errorId"], document["httpStatusCode"]) == (id, status)
    assert document["httpStatusName"].isupper()
    assert document["datetime"].endswith("Z[UTC]")
    assert isinstance(document["timestamp"], int)
    assert f"::{id}] - " in document["message"]
    assert document["stackTrace"] == []
    return str(document["message"])


def test_is_alive(site: Site) -> None:
    answer = site.http.get("/isAlive")
    assert (answer.status, answer.json()) == (200, True)


@pytest.mark.parametrize("slash", ["", "/"])
def test_studies(site: Site, slash: str) -> None:
    document = {"studyId": STUDY, "name": STUDY, "description": "d", "organization": "o", "info": {}}
    answer = site.http.post(f"/studies/{STUDY}{slash}", json=document)
    assert (answer.status, answer.json()) == (200, {"message": "Successfully created study 'TEST-CA'"})
    assert site.http.get("/studies/all").json() == [STUDY]
    assert site.http.get(f"/studies/{STUDY}").json() == document
    check_error(site.http.post(f"/studies/{STUDY}{slash}", json=document), 409, "study.already.exists")
    check_error(site.http.post("/studies/OTHER/", json=document), 409, "study.id.mismatch")
    check_error(site.http.post("/studies/OTHER/", json=[]), 400, "malformed.parameter")
    check_error(site.http.post("/studies/OTHER/", body=b"{"), 422, "payload.parsing")
    check_error(site.http.get("/studies/OTHER"), 404, "study.id.does.not.exist")


def test_submission_and_reading_as_song_answers(site: Site) -> None:
    site.http.post(f"/studies/{STUDY}/", json={"studyId": STUDY})
    answer = site.http.post(f"/submit/{STUDY}", json=payload("a.txt") | {"experiment": {"tool": "t"}})
    assert list(answer.json()) == ["analysisId", "status"]
    assert answer.json()["status"] == "OK"
    analysis = answer.json()["analysisId"]
    assert is_uuid(analysis)
    file = {
        "objectId": object_id(analysis, "a.txt"),
        "studyId": STUDY,
        "analysisId": analysis,
        "fileName": "a.txt",
        "fileSize": 5,
        "fileType": "TXT",
        "fileMd5sum": EMPTY_MD5,
        "fileAccess": "open",
        "dataType": "x",
    }
    place = f"/studies/{STUDY}/analysis/{analysis}"
    assert site.http.get(f"{place}/files").json() == [file]
    assert site.http.get(f"/studies/{STUDY}/files/{file['objectId']}").json() == file
    document = site.http.get(place).json()
    times = {name: document.pop(name) for name in ("createdAt", "updatedAt")}
    assert all("T" in time and len(time) == len("2026-11-22T01:50:35.013154") for time in times.values())
    assert document == {
        "analysisId": analysis,
        "studyId": STUDY,
        "analysisState": "UNPUBLISHED",
        "firstPublishedAt": None,
        "publishedAt": None,
        "analysisStateHistory": [],
        "samples": [],
        "files": [file],
        "analysisType": {"name": "variantCall", "version": 1},
        "experiment": {"tool": "t"},
    }


def test_submissions_that_are_refused(site: Site) -> None:
    check_error(site.http.post(f"/submit/{STUDY}", json=payload("a")), 404, "study.id.does.not.exist")
    site.http.post(f"/studies/{STUDY}/", json={"studyId": STUDY})
    check_error(site.http.post(f"/submit/{STUDY}", body=b"no json"), 422, "payload.parsing")
    check_error(site.http.post(f"/submit/{STUDY}", body=b'{"a": NaN}'), 422, "payload.parsing")
    check_error(site.http.post(f"/submit/{STUDY}", json=payload("a") | {"studyId": "X"}), 409, "study.id.mismatch")
    message = check_error(site.http.post(f"/submit/{STUDY}", json=payload("a", "../b")), 400, "schema.violation")
    assert "'../b'" in message
    assert site.http.get("/entities").json()["totalElements"] == 0


@pytest.mark.parametrize(
    "value",
    ["1e999", "-1e999", "[1e400]", "[" * 101 + "]" * 101, '{"a":' * 101 + "0" + "}" * 101, "[" * 900 + "]" * 900],
    ids=["large", "small", "within", "lists", "objects", "deep"],
)
def test_what_could_not_be_given_back_is_not_taken(site: Site, value: str) -> None:
    """One analysis that no answer can hold would take all others of its study with it."""
    site.submit("a")
    for path, document in ((f"/submit/{STUDY}", payload("b")), ("/studies/NEW/", {"studyId": "NEW"})):
        body = json.dumps(document).removesuffix("}") + f', "more": {value}}}'
        message = check_error(site.http.post(path, body=body), 422, "payload.parsing")
        assert "nested" in message
    assert len(site.http.get(f"/studies/{STUDY}/analysis?analysisStates=UNPUBLISHED").json()) == 1


def test_a_kind_of_analysis_that_is_no_text(site: Site) -> None:
    site.submit("a")
    body = json.dumps(payload("b") | {"analysisType": {"name": "\ud800"}})
    assert "analysisType" in check_error(site.http.post(f"/submit/{STUDY}", body=body), 400, "schema.violation")
    assert len(site.listed()) == 1


def test_what_is_odd_and_can_be_given_back_is_taken(site: Site) -> None:
    odd = {"large": 1e308, "digits": 10**300, "nested": json.loads("[" * 98 + "]" * 98), "text": "\u0000\u202e"}
    analysis = site.submit("a", more=odd)
    assert site.http.get(f"/studies/{STUDY}/analysis/{analysis}").json()["more"] == odd
    assert [one.id for one in site.listed()] == [analysis]


def test_analyses_of_a_study_by_state(site: Site) -> None:
    analysis = site.submit("a")

    def listed(query: str) -> list[str]:
        answer = site.http.get(f"/studies/{STUDY}/analysis{query}")
        return [document["analysisId"] for document in answer.json()]

    assert listed("") == []
    assert listed("?analysisStates=UNPUBLISHED") == [analysis]
    assert listed("?analysisStates=PUBLISHED,UNPUBLISHED") == [analysis]
    wrong = site.http.get(f"/studies/{STUDY}/analysis?analysisStates=GONE")
    assert "GONE" in check_error(wrong, 400, "malformed.parameter")


def test_what_is_not_there(site: Site) -> None:
    analysis = site.submit("a")
    site.http.post("/studies/OTHER/", json={"studyId": "OTHER"})
    for end in ("", "/files"):
        check_error(site.http.get(f"/studies/{STUDY}/analysis/nosuch{end}"), 404, "analysis.id.not.found")
        check_error(site.http.get(f"/studies/NONE/analysis/{analysis}{end}"), 404, "study.id.does.not.exist")
        check_error(site.http.get(f"/studies/OTHER/analysis/{analysis}{end}"), 400, "entity.not.related.to.study")
    check_error(site.http.get(f"/studies/{STUDY}/files/{NOBODY}"), 404, "file.not.found")
    check_error(site.http.get(f"/entities/{NOBODY}"), 404, "legacy.entity.not.found")
    for action in ("publish", "unpublish", "suppress"):
        check_error(site.put(action, NOBODY), 404, "analysis.id.not.found")


def test_publication_and_back(site: Site) -> None:
    analysis = site.submit("a", "b")
    site.store(analysis, "a", "b")
    for action, told, state in [
        ("publish", "successfully published", "PUBLISHED"),
        ("publish", "successfully published", "PUBLISHED"),
        ("unpublish", "successfully unpublished", "UNPUBLISHED"),
        ("unpublish", "successfully unpublished", "UNPUBLISHED"),
        ("suppress", "was suppressed", "SUPPRESSED"),
    ]:
        answer = site.put(action, analysis)
        assert (answer.status, answer.json()) == (200, {"message": f"AnalysisId {analysis} {told}"})
        document = site.http.get(f"/studies/{STUDY}/analysis/{analysis}").json()
        assert document["analysisState"] == state
    assert [change["updatedState"] for change in document["analysisStateHistory"]] == [
        "PUBLISHED",
        "PUBLISHED",
        "UNPUBLISHED",
        "UNPUBLISHED",
        "SUPPRESSED",
    ]
    for action in ("publish", "unpublish"):
        check_error(site.put(action, analysis), 400, "suppressed.state.transition")


def test_publication_needs_the_objects_as_registered(site: Site) -> None:
    names = [f"{number}.txt" for number in range(40)]
    analysis = site.submit(*names)
    site.store(analysis, *names)
    del site.objects.held[object_id(analysis, "7.txt")]
    message = check_error(site.put("publish", analysis), 409, "missing.storage.objects")
    assert "7.txt" in message
    assert object_id(analysis, "7.txt") in message
    assert "8.txt" not in message
    site.store(analysis, "7.txt", size=6)
    assert "7.txt" in check_error(site.put("publish", analysis), 409, "mismatching.storage.object.sizes")
    site.store(analysis, "7.txt", md5="0" * 32)
    assert "7.txt" in check_error(site.put("publish", analysis), 409, "mismatching.storage.object.checksums")
    site.store(analysis, "7.txt", md5=None)
    assert "7.txt" in check_error(site.put("publish", analysis), 409, "mismatching.storage.object.checksums")
    site.objects.away = True
    assert "away" in check_error(site.put("publish", analysis), 503, "service.unavailable")
    site.objects.away = False
    state = site.http.get(f"/studies/{STUDY}/analysis/{analysis}").json()
    assert (state["analysisState"], state["analysisStateHistory"]) == ("UNPUBLISHED", [])
    assert site.put("publish", f"{analysis}?ignoreUndefinedMd5=true").status == 200


def test_changes_need_the_right_and_reads_do_not(site: Site) -> None:
    analysis = site.submit("a")
    site.tokens.on = True
    changes = [
        ("POST", f"/studies/{STUDY}/"),
        ("POST", f"/submit/{STUDY}"),
        *(
            ("PUT", f"/studies/{STUDY}/analysis/{action}/{analysis}")
            for action in ("publish", "unpublish", "suppress")
        ),
    ]
    for method, path in changes:
        answer = site.http.call(method, path, json=payload("b"))
        check_error(answer, 401, "unauthorized.token")
        assert answer.headers["www-authenticate"] == "Bearer"
        refused = site.http.call(method, path, json=payload("b"), headers={"Authorization": "Bearer bad"})
        check_error(refused, 403, "forbidden.token")
    allowed = site.http.post(f"/submit/{STUDY}", json=payload("b"), headers={"Authorization": "bearer good"})
    assert allowed.status == 200
    assert site.http.get(f"/studies/{STUDY}/analysis/{analysis}").status == 200
    assert site.http.get("/entities").json()["totalElements"] == 2


def test_an_entity(site: Site) -> None:
    analysis = site.submit("a")
    wanted = object_id(analysis, "a")
    answer = site.http.get(f"/entities/{wanted}")
    assert list(answer.json().items()) == list(zip(ENTITY, [wanted, analysis, "a", STUDY, "open"], strict=True))


@pytest.mark.parametrize("path", ["/entities", "/entities/"])
def test_a_page_of_entities_as_song_answers(site: Site, path: str) -> None:
    analysis = site.submit("a")
    answer = site.http.get(f"{path}?gnosId={analysis}")
    order = {"sorted": True, "empty": False, "unsorted": False}
    assert answer.json() == {
        "content": [
            {
                "id": object_id(analysis, "a"),
                "gnosId": analysis,
                "fileName": "a",
                "projectCode": STUDY,
                "access": "open",
            }
        ],
        "pageable": {
            "sort": order,
            "pageNumber": 0,
            "pageSize": 10,
            "offset": 0,
            "paged": True,
            "unpaged": False,
        },
        "last": True,
        "totalElements": 1,
        "totalPages": 1,
        "size": 10,
        "number": 0,
        "sort": order,
        "first": True,
        "numberOfElements": 1,
        "empty": False,
    }
    empty = site.http.get(f"{path}?gnosId={NOBODY}").json()
    assert (empty["content"], empty["last"], empty["totalPages"], empty["empty"]) == ([], True, 0, True)


def test_pages_until_the_last(site: Site) -> None:
    names = [f"{number}" for number in range(25)]
    analysis = site.submit(*names)
    found = []
    for number in range(3):
        page = site.http.get(f"/entities?gnosId={analysis}&projectCode={STUDY}&page={number}").json()
        assert (page["number"], page["first"], page["last"]) == (number, number == 0, number == 2)
        assert page["numberOfElements"] == len(page["content"]) == (10 if number < 2 else 5)
        found += [entity["id"] for entity in page["content"]]
    assert found == sorted(object_id(analysis, name) for name in names)
    beyond = site.http.get("/entities?page=3").json()
    assert (beyond["content"], beyond["last"], beyond["empty"]) == ([], True, True)


@pytest.mark.parametrize(
    ("query", "size", "number"),
    [
        ("size=2000&page=0", 2000, 0),
        ("size=2001", 2000, 0),
        ("size=0", 10, 0),
        ("size=-5&page=-1", 10, 0),
        ("size=x&page=y", 10, 0),
        ("size=3&page=1", 3, 1),
    ],
)
def test_sizes_of_pages(site: Site, query: str, size: int, number: int) -> None:
    page = site.http.get(f"/entities?{query}").json()
    assert (page["size"], page["number"]) == (size, number)


def test_fields_of_entities(site: Site) -> None:
    analysis = site.submit("a")
    page = site.http.get("/entities?fields=id&fields=fileName&fields=gnosId&size=2000&page=0").json()
    assert page["content"] == [{"id": object_id(analysis, "a"), "gnosId": analysis, "fileName": "a"}]
    check_error(site.http.get("/entities?fields=id,fileName"), 400, "illegal.filter.parameter")
    check_error(site.http.get("/entities?fields=size"), 400, "illegal.filter.parameter")
    check_error(site.http.get("/entities?sort=id"), 400, "illegal.query.parameter")
    check_error(site.http.get("/entities?gnosid=x"), 400, "illegal.query.parameter")


def test_a_registry_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite3").mkdir()
    with Site(tmp_path) as site:
        check_error(site.http.get("/isAlive"), 500, "unknown.error")
        check_error(site.http.get("/studies/all"), 500, "unknown.error")
