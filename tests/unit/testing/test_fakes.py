"""The fakes answer as the recorded services did."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from score.testing.ego import FakeEgo
from score.testing.faults import Answer, LoseResponse, Reset
from score.testing.song import FakeSong

ANALYSIS = "6d732a42-da6c-40a6-b32a-42da6c50a61c"
MD5 = "533dfcaf75aef2f54b041451483a759c"


@pytest.fixture
def ego() -> Iterator[FakeEgo]:
    with FakeEgo() as ego:
        yield ego


def get(http: urllib3.PoolManager, url: str) -> tuple[int, Any]:
    answer = http.request("GET", url)
    return answer.status, answer.json()


def test_an_entity_is_shown_as_recorded(song: FakeSong, http: urllib3.PoolManager) -> None:
    file = song.register("s1795312233.txt", analysis=ANALYSIS, size=26, md5=MD5)
    assert file.object_id == "f1308f2c-39dc-502c-8c98-65d083bfb544"
    assert get(http, f"{song.url}/entities/{file.object_id}") == (
        200,
        {
            "id": file.object_id,
            "gnosId": ANALYSIS,
            "fileName": "s1795312233.txt",
            "projectCode": "TEST-CA",
            "access": "open",
        },
    )
    status, error = get(http, f"{song.url}/entities/00000000-0000-4000-8000-00000000ffff")
    assert (status, error["errorId"], error["httpStatusName"]) == (404, "legacy.entity.not.found", "NOT_FOUND")
    assert error["message"].startswith("[LegacyEntityService::legacy.entity.not.found] - ")


def test_entities_are_filtered_cut_to_fields_and_paged(song: FakeSong, http: urllib3.PoolManager) -> None:
    ids = sorted(song.register(f"{number}.bam", analysis=ANALYSIS).object_id for number in range(5))
    song.register("other.bam", analysis="another")
    query = f"?gnosId={ANALYSIS}&fields=id&size=2&page="
    pages = [get(http, f"{song.url}/entities{query}{page}")[1] for page in range(3)]
    assert [entity for page in pages for entity in page["content"]] == [{"id": each} for each in ids]
    assert [page["last"] for page in pages] == [False, False, True]
    first = pages[0]
    assert (first["totalElements"], first["totalPages"], first["number"], first["first"]) == (5, 3, 0, True)
    assert get(http, f"{song.url}/entities/?id=nosuch")[1]["last"] is True
    assert get(http, f"{song.url}/entities?color=red")[1]["errorId"] == "illegal.query.parameter"
    assert get(http, f"{song.url}/entities?fields=id,fileName")[1]["errorId"] == "illegal.filter.parameter"


def test_an_analysis_is_shown_with_its_state_and_files(song: FakeSong, http: urllib3.PoolManager) -> None:
    file = song.register("a.txt", analysis=ANALYSIS, size=26, md5=MD5)
    url = f"{song.url}/studies/TEST-CA/analysis/{ANALYSIS}"
    status, document = get(http, url)
    assert (status, document["analysisState"], document["studyId"]) == (200, "UNPUBLISHED", "TEST-CA")
    assert document["files"] == get(http, f"{url}/files")[1]
    assert document["files"] == [get(http, f"{song.url}/studies/TEST-CA/files/{file.object_id}")[1]]
    song.set_state(ANALYSIS, "SUPPRESSED")
    assert get(http, url)[1]["analysisState"] == "SUPPRESSED"


def test_what_is_wrong_with_an_analysis_is_said_as_song_says_it(song: FakeSong, http: urllib3.PoolManager) -> None:
    song.register("a.txt", analysis=ANALYSIS)
    song.register("b.txt", analysis="b", study="OTHER")
    for path, status, error_id in [
        ("NONE/analysis/x", 404, "study.id.does.not.exist"),
        ("TEST-CA/analysis/x", 404, "analysis.id.not.found"),
        ("TEST-CA/analysis/b", 400, "entity.not.related.to.study"),
    ]:
        got, error = get(http, f"{song.url}/studies/{path}")
        assert (got, error["errorId"]) == (status, error_id)
    for state, error_id in [("404", "analysis.id.not.found"), ("400", "entity.not.related.to.study")]:
        song.set_state(ANALYSIS, state)
        got, error = get(http, f"{song.url}/studies/TEST-CA/analysis/{ANALYSIS}")
        assert (str(got), error["errorId"]) == (state, error_id)


class FakeScore(FakeSong):
    """Any service will do as a Score that is scripted from without."""


@pytest.mark.parametrize(
    ("uploads", "download", "status", "error_id", "calls"),
    [
        ([b"true", b"true"], {"objectSize": 26, "objectMd5": MD5}, 200, "", 3),
        ([b"True", b"true"], {"objectSize": 26, "objectMd5": MD5}, 200, "", 3),
        ([b"false"], {}, 409, "missing.storage.objects", 1),
        ([b"true", b"false"], {}, 404, "storage.object.not.found", 2),
        ([b"<html>"], {}, 502, "storage.service.error", 1),
        ([400], {}, 500, "unknown.error", 1),
        ([503] * 5, {}, 500, "unknown.error", 5),
        ([503, 503, b"true", b"true"], {"objectSize": 26, "objectMd5": MD5}, 200, "", 5),
        ([b"true", b"true"], {"objectSize": 27, "objectMd5": MD5}, 409, "mismatching.storage.object.sizes", 3),
        (
            [b"true", b"true"],
            {"objectSize": 26, "objectMd5": MD5.upper()},
            409,
            "mismatching.storage.object.checksums",
            3,
        ),
        ([b"true", b"true"], {"objectSize": 26, "objectMd5": None}, 409, "mismatching.storage.object.checksums", 3),
        ([b"true", b"true"], {"objectSize": "26", "objectMd5": MD5}, 500, "invalid.storage.download.response", 3),
    ],
)
def test_publishing_asks_score_as_recorded(
    song: FakeSong,
    http: urllib3.PoolManager,
    uploads: list[bytes | int],
    download: dict[str, object],
    status: int,
    error_id: str,
    calls: int,
) -> None:
    file = song.register("s1795312233.txt", analysis=ANALYSIS, size=26, md5=MD5)
    with FakeScore() as score:
        song.score_url, song.score_token = score.url, "some-key"
        for said in uploads:
            answer = Answer(said) if isinstance(said, int) else Answer(200, said)
            score.traffic.inject(answer, path=f"/upload/{file.object_id}")
        document = json.dumps({"objectId": file.object_id, **download}).encode()
        score.traffic.inject(Answer(200, document), path="/download/")
        answer = http.request("PUT", f"{song.url}/studies/TEST-CA/analysis/publish/{ANALYSIS}")
        assert (answer.status, answer.json().get("errorId", "")) == (status, error_id)
        assert song.state(ANALYSIS) == ("PUBLISHED" if status == 200 else "UNPUBLISHED")
        seen = score.traffic.seen()
        assert len(seen) == calls
        assert {call.headers["authorization"] for call in seen} == {"Bearer some-key"}
        if status == 200:
            assert (seen[-1].path, seen[-1].query) == (
                f"/download/{file.object_id}",
                "offset=0&length=-1&exclude-urls=true",
            )


def test_publishing_without_a_score_fails_and_changes_nothing(song: FakeSong, http: urllib3.PoolManager) -> None:
    song.register("a.txt", analysis=ANALYSIS)
    with FakeScore() as score:
        song.score_url = score.url
    answer = http.request("PUT", f"{song.url}/studies/TEST-CA/analysis/publish/{ANALYSIS}")
    assert (answer.status, song.state(ANALYSIS)) == (500, "UNPUBLISHED")


def test_a_published_analysis_can_be_taken_back(song: FakeSong, http: urllib3.PoolManager) -> None:
    song.register("a.txt", analysis=ANALYSIS)
    for verb, state in [("suppress", "SUPPRESSED"), ("unpublish", "UNPUBLISHED")]:
        answer = http.request("PUT", f"{song.url}/studies/TEST-CA/analysis/{verb}/{ANALYSIS}")
        assert answer.json() == {"message": f"AnalysisId {ANALYSIS} successfully {state.lower()}"}
        assert song.state(ANALYSIS) == state


def test_services_fail_on_request(song: FakeSong, http: urllib3.PoolManager) -> None:
    file = song.register("a.txt", analysis=ANALYSIS)
    url = f"{song.url}/entities/{file.object_id}"
    song.traffic.inject(Answer(503))
    song.traffic.inject(Reset())
    song.traffic.inject(LoseResponse())
    song.traffic.inject(Answer.garbage())
    assert http.request("GET", url).status == 503
    for _ in range(2):
        with pytest.raises(urllib3.exceptions.ProtocolError):
            http.request("GET", url)
    assert b"<html>" in http.request("GET", url).data
    assert http.request("GET", url).json()["id"] == file.object_id
    assert [call.end for call in song.traffic.wait_for(5)] == ["fault"] * 4 + ["answered"]


def test_services_can_be_slow_without_a_clock(song: FakeSong, http: urllib3.PoolManager) -> None:
    gate = song.traffic.hold(path="/isAlive")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(http.request, "GET", f"{song.url}/isAlive")
        gate.wait_for_arrival()
        assert not asked.done()
        gate.open()
        assert asked.result(20).status == 200


def test_services_go_away_and_come_back(song: FakeSong, http: urllib3.PoolManager) -> None:
    song.shut()
    with pytest.raises(urllib3.exceptions.HTTPError):
        http.request("GET", f"{song.url}/isAlive")
    song.open()
    assert http.request("GET", f"{song.url}/isAlive").status == 200


class Asking:
    """Asks Ego about a key in the ways that Ego takes it."""

    def __init__(self, ego: FakeEgo, http: urllib3.PoolManager) -> None:
        self.ego = ego
        self.http = http

    def __call__(self, key: str | None, way: str = "multipart", path: str = "/o/check_api_key", **basic: str) -> Any:
        name = "token" if "token" in path else "apiKey"
        pair = f"{basic.get('client', self.ego.client_id)}:{basic.get('secret', self.ego.client_secret)}"
        headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        fields = {} if key is None else {name: key}
        if way == "query":
            return self.http.request("POST", f"{self.ego.url}{path}?{name}={key}", headers=headers)
        return self.http.request_encode_body(
            "POST", self.ego.url + path, fields=fields, headers=headers, encode_multipart=way == "multipart"
        )


@pytest.fixture
def ask(ego: FakeEgo, http: urllib3.PoolManager) -> Asking:
    return Asking(ego, http)


@pytest.mark.parametrize("way", ["multipart", "urlencoded", "query"])
@pytest.mark.parametrize("path", ["/o/check_api_key", "/o/check_api_key/", "/o/check_token"])
def test_a_key_is_taken_in_every_way(ego: FakeEgo, ask: Asking, way: str, path: str) -> None:
    answer = ask(ego.issue_key("song.READ", "score.WRITE"), way, path)
    assert answer.status == 207
    assert set(answer.json()["scope"]) == {"song.READ", "score.READ", "score.WRITE"}
    assert 31_000_000 < answer.json()["exp"] <= 31_536_000


def test_keys_that_are_no_good(ego: FakeEgo, ask: Asking) -> None:
    revoked, expired = ego.issue_key("score.READ"), ego.issue_key("score.READ", lasts=-1)
    ego.revoke(revoked)
    for key in (revoked, expired):
        answer = ask(key)
        assert answer.status == 401
        assert answer.json() == {"error": f'ApiKey "{key}" has expired or is no longer valid. '}
    for unknown in ("11111111-1111-4111-8111-111111111111", "not-a-uuid", ""):
        answer = ask(unknown)
        assert (answer.status, answer.json()) == (401, {"error": "ApiKey not found"})
    assert ask(None).status == 400
    assert ask(ego.issue_key(), secret="x").status == 401
    assert ask(ego.issue_key(), client="nosuch").status == 401
    assert ask(ego.issue_key()).json()["scope"] == []


def test_tokens_are_proven_by_the_key_shown(ego: FakeEgo, http: urllib3.PoolManager) -> None:
    shown = http.request("GET", ego.public_key_url)
    assert shown.headers["Content-Type"].startswith("text/plain")
    begin, body, end = shown.data.decode().split("\r\n")
    assert (begin, end) == ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----")
    key = load_der_public_key(base64.b64decode(body))
    assert isinstance(key, rsa.RSAPublicKey)
    claims = jwt.decode(ego.issue_jwt("score.READ"), key, algorithms=["RS256"])
    assert claims["context"]["scope"] == ["score.READ"]
    assert claims["exp"] - claims["iat"] == 3 * 3600
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(ego.issue_jwt(lasts=-61), key, algorithms=["RS256"])
    assert "exp" not in jwt.decode(ego.issue_jwt(lasts=None), key, algorithms=["RS256"])
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(ego.issue_jwt(key=stranger), key, algorithms=["RS256"])
