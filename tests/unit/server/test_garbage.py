"""Garbage in every setting, in the calls, in the state that lies in the store: no 500, no key elsewhere."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from score.errors import Misconfigured
from score.server.build import open_service
from score.server.main import listen
from score.server.reading import read_settings
from score.server.settings import FIELDS, Settings
from score.testing.server import RunningServer

GARBAGE = [
    "\0", " ", "-1", "0", "1.5", "1e9", "nan", "9" * 30, "x" * 5000, "../..", "/", "a/../../b", "http://", "http://[",
    "http://x:99999", "http://user:pw@x/", "http://a b", "ftp://x", "😀", "true", "null", "${", "${nowhere}", "'",
    '"',
    "# x", "a,b,,", "\n", "\u202e", "%2e%2e%2f", "{}",
]  # fmt: skip
ALL = sorted([*FIELDS, "spring.profiles.active", "spring.config.location"])
"""Every setting there is: a new one is tried with garbage as soon as it has a name."""
S3 = {
    "spring.profiles.active": "s3", "s3.endpoint": "http://127.0.0.1:1", "s3.accessKey": "a",
    "s3.secretKey": "hunter2", "bucket.name.object": "o", "bucket.name.state": "s", "metadata.url": "http://127.0.0.1:1",
    "upload.retry.limit": "0", "auth.connection.maxRetries": "0",
}  # fmt: skip
AZURE = {
    "spring.profiles.active": "azure", "azure.accountName": "account", "azure.accountKey": "aHVudGVyMg==",
    "azure.endpoint": "http://127.0.0.1:1/account", "bucket.name.object": "objects",
    "metadata.url": "http://127.0.0.1:1", "upload.retry.limit": "0",
}  # fmt: skip
SECURE = {
    "spring.profiles.active": "s3,secure", "auth.server.url": "http://127.0.0.1:1/check_api_key",
    "auth.server.clientId": "c", "auth.server.clientSecret": "hunter2",
}  # fmt: skip


@pytest.mark.parametrize(
    "base",
    [{"spring.profiles.active": "local"}, S3, {**S3, **SECURE}, AZURE],
    ids=["local", "s3", "secure", "azure"],
)
@pytest.mark.parametrize("name", ALL)
def test_a_setting_with_garbage_stops_the_start_by_its_name_or_does_no_harm(
    name: str, base: dict[str, str], tmp_path: Path
) -> None:
    for value in GARBAGE:
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        given_ = {**base, name: value}
        if name != "local.directory":
            given_["local.directory"] = str(folder / "data")
        try:
            reading = read_settings([f"--{key}={text}" for key, text in given_.items()], {}, folder)
            if name == "server.address":
                listen(reading.settings.host, 0).close()
            elif name != "local.directory":
                asyncio.run(opened(reading.settings))
        except Misconfigured as error:
            check_message(error)
        assert {path.name for path in folder.iterdir()} <= {"data"}, "nothing is written elsewhere"


def test_every_field_has_a_name_by_which_it_is_tried() -> None:
    assert set(Settings.model_fields) - set(FIELDS.values()) == {"profiles"}


def check_message(error: Misconfigured) -> None:
    assert len(str(error)) < 5000
    assert "hunter2" not in str(error)
    assert "aHVudGVyMg" not in str(error)


async def opened(chosen: Settings) -> None:
    """Open the service, ask for a sentinel's URL, look at health. Only Misconfigured may come of it."""
    service = await open_service(chosen)
    try:
        service.broker.downloads.ping()
        if chosen.store == "local":
            await service.broker.health.report()
    finally:
        await service.close()


@pytest.mark.parametrize("name", ["s3.endpoint", "metadata.url", "auth.server.url", "s3.preSignedUrl.override.host"])
@pytest.mark.parametrize("value", [one for one in GARBAGE if "x" * 100 not in one])
def test_an_address_that_passes_the_start_never_breaks_the_health_report(
    name: str, value: str, tmp_path: Path
) -> None:
    try:
        given_ = {**S3, **SECURE, "upload.connection.timeout": "500", name: value}
        reading = read_settings([f"--{key}={text}" for key, text in given_.items()], {}, tmp_path)
    except Misconfigured:
        return

    async def look() -> None:
        service = await open_service(reading.settings)
        try:
            report = await service.broker.health.report()
            assert not report.ok
        finally:
            await service.close()

    try:
        asyncio.run(look())
    except Misconfigured as error:
        check_message(error)


@pytest.mark.parametrize(
    ("endpoint", "origin", "path"),
    [
        ("127.0.0.1:9000", "https://127.0.0.1:9000", ""),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000", ""),
        ("http://127.0.0.1:9000/s3/", "http://127.0.0.1:9000", "/s3"),
        ("https://store.example", "https://store.example", ""),
    ],
)
def test_endpoints_without_scheme_with_path_and_with_slash(
    endpoint: str, origin: str, path: str, tmp_path: Path
) -> None:
    from score.server.build import s3_settings

    given_ = {**S3, "s3.endpoint": endpoint}
    found = s3_settings(read_settings([f"--{key}={text}" for key, text in given_.items()], {}, tmp_path).settings)
    assert (found.origin, found.base_path) == (origin, path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[RunningServer]:
    chosen = Settings.model_validate({"local.directory": place / "root", "profiles": ("local",)})
    with RunningServer(lambda: open_service(chosen)) as server:
        yield server


@pytest.fixture(scope="module")
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, timeout=30) as http:
        yield http


def files(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if "registry" not in path.name}


def refusal(answer: Any) -> int:
    """The status of a refusal, which is a 4xx with the JSON body."""
    assert 400 <= answer.status < 500, (answer.status, answer.data[:500])
    document = json.loads(answer.data)
    assert document["status"] == answer.status
    assert document["message"]
    return int(answer.status)


class Answer:
    def __init__(self, response: HTTPResponse) -> None:
        self.status, self.data = response.status, response.read()


REAL = "5c0e0000-0000-4000-8000-000000000001"
CALLS = [
    "GET /download/{id}?offset={n}&length={n}",
    "GET /upload/{id}/status?fileSize={n}",
    "POST /upload/{id}/uploads?fileSize={n}&md5={t}",
    "POST /upload/{id}/begin?fileSize={n}&md5={t}",
    "POST /upload/{id}/recovery?fileSize={n}",
    "POST /upload/{id}/parts?partNumber={n}&uploadId={t}&md5={t}&etag={t}&complete={t}",
    "DELETE /upload/{id}/parts?partNumber={n}&uploadId={t}",
    "POST /upload/{id}?uploadId={t}",
    "DELETE /upload/{id}",
    "DELETE /admin/objects/{id}",
    "GET /upload/test/{id}",
]
IDS = some.one_of(
    some.text(min_size=1, max_size=50),
    some.sampled_from([
        "..", ".", "../x", "..%2f..%2fx", "%2e%2e/", "\0", f"{REAL}\0", f"{REAL}/..", f"{REAL}_u", "x" * 5000,
        f"{REAL}%00", f" {REAL}", REAL.replace("-", ""), f"{{{REAL}}}", f"{REAL}.meta",
    ]),
)  # fmt: skip
NUMBERS = some.one_of(
    some.integers().map(str),
    some.sampled_from(
        ["0", "-1", "10001", str(2**63), str(-(2**63)), "1e3", "0x1", "NaN", "", " 1", "٣", "1_0", "9" * 400]
    ),
    some.text(max_size=20),
)
TEXTS = some.one_of(
    some.text(max_size=50),
    some.sampled_from(["../../x", "\0", "x" * 5000, "0" * 32, "u/../../x", "/", "%2f", "a|b{}"]),
)


@pytest.mark.parametrize("call", CALLS)
def test_calls_with_garbage(call: str, server: RunningServer, place: Path) -> None:
    before = files(place)
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=30)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    @given(some.one_of(IDS, some.just(REAL)), NUMBERS, TEXTS)
    def try_out(object_id: str, number: str, text: str) -> None:
        method, _, target = call.partition(" ")
        quoted = [quote(one.encode("utf-8", "surrogatepass"), safe="") for one in (object_id, number, text)]
        # Other clients take the dots out of a path before they send it.
        connection.request(method, target.format(id=quoted[0], n=quoted[1], t=quoted[2]))
        answer = Answer(connection.getresponse())
        if call == "GET /upload/test/{id}" and answer.status == 200:
            return
        refusal(answer)

    with closing(connection):
        try_out()
    assert files(place) == before


@pytest.mark.parametrize("size", [70_000, 1_000_000])
def test_a_query_string_of_a_megabyte(size: int, server: RunningServer, http: urllib3.PoolManager) -> None:
    for call in ("GET /profile?", f"POST /upload/{REAL}?uploadId=", f"GET /download/{REAL}?offset=0&length="):
        method, _, target = call.partition(" ")
        try:
            answer = http.request(method, server.url + target + "x" * size)
        except urllib3.exceptions.HTTPError:
            continue  # the server hung up while it was sent, as it may
        refusal(answer)
    assert http.request("GET", f"{server.url}/profile").data == b"s3"


def document(object_id: str, upload: str, **other: Any) -> bytes:
    parts = [{"partNumber": 1, "partSize": 3, "offset": 0, "sourceMd5": "0" * 32}]
    whole = {
        "objectKey": f"data/{object_id}", "objectId": object_id, "uploadId": upload, "parts": parts, "objectSize": 3,
        "objectMd5": None, **other,
    }  # fmt: skip
    return json.dumps(whole).encode()


def broken(object_id: str, upload: str) -> dict[str, bytes]:
    whole = document(object_id, upload)
    return {
        "empty": b"",
        "no JSON": b"<xml/>",
        "truncated": whole[:-20],
        "no text": b"\xff\xfe\x00",
        "another shape": b"[1,2]",
        "deep": b"[" * 100_000,
        "of another object": document(str(uuid.uuid4()), str(uuid.uuid4())),
        "of another upload": document(object_id, "other"),
        "of another size": document(object_id, upload, objectSize=4),
        "negative": document(object_id, upload, objectSize=-3),
        "numbers beyond": whole.replace(b'"partSize": 3', b'"partSize": 1' + b"0" * 400),
        "infinite": whole.replace(b'"partSize": 3', b'"partSize": 1e999'),
        "without parts": document(object_id, upload, parts=[]),
        "parts that overlap": document(object_id, upload, parts=[{"partNumber": 1, "partSize": 3, "offset": 0}] * 2),
    }


KINDS = sorted(broken("", ""))


@pytest.mark.parametrize("kind", KINDS)
def test_state_documents_that_are_broken(
    kind: str, server: RunningServer, http: urllib3.PoolManager, place: Path
) -> None:
    root = place / "root"
    submitted = {
        "studyId": "GARBAGE",
        "files": [{"fileName": f"{kind}.bam", "fileSize": 3, "fileMd5sum": "0" * 32, "fileAccess": "open"}],
    }
    http.request(
        "POST",
        f"{server.url}/studies/GARBAGE/",
        json={"studyId": "GARBAGE", "name": "", "description": "", "organization": ""},
    )
    analysis = http.request("POST", f"{server.url}/submit/GARBAGE", json=submitted).json()["analysisId"]
    object_id = http.request("GET", f"{server.url}/studies/GARBAGE/analysis/{analysis}/files").json()[0]["objectId"]
    upload = http.request("POST", f"{server.url}/upload/{object_id}/uploads?fileSize=3").json()["uploadId"]
    path = root / "state" / "upload" / f"{object_id}_{upload}" / ".meta"
    path.write_bytes(broken(object_id, upload)[kind])
    md5 = "0" * 32
    for call in (
        f"GET /upload/{object_id}/status?fileSize=3",
        f"POST /upload/{object_id}/recovery?fileSize=4",
        f"POST /upload/{object_id}?uploadId={upload}",
        f"POST /upload/{object_id}/parts?partNumber=1&uploadId={upload}&md5={md5}&etag={md5}",
    ):
        method, _, target = call.partition(" ")
        refusal(http.request(method, server.url + target))
    assert http.request("DELETE", f"{server.url}/upload/{object_id}").status == 200, "it can be thrown away"
    # The final document: the object is there, its specification is broken.
    (root / "object" / "data").mkdir(exist_ok=True)
    (root / "object" / "data" / object_id).write_bytes(b"abc")
    final = root / "state" / "data" / f"{object_id}.meta"
    final.parent.mkdir(parents=True, exist_ok=True)
    final.write_bytes(broken(object_id, upload)[kind])
    http.request("PUT", f"{server.url}/studies/GARBAGE/analysis/publish/{analysis}?ignoreUndefinedMd5=true")
    answer = http.request("GET", f"{server.url}/download/{object_id}?offset=0&length=-1&exclude-urls=true")
    assert answer.status == 200 or refusal(answer)
    if kind not in ("of another upload", "parts that overlap"):
        refusal(answer)


def test_a_bucket_that_does_not_exist_is_named(tmp_path: Path) -> None:
    chosen = read_settings(
        ["--spring.profiles.active=local", f"--local.directory={tmp_path / 'd'}"], {}, tmp_path
    ).settings
    with RunningServer(lambda: open_service(chosen)) as server, urllib3.PoolManager(retries=False) as http:
        shutil.rmtree(tmp_path / "d" / "state")
        answer = http.request("GET", f"{server.url}/upload/{REAL}")
        assert refusal(answer) == 404
        assert "state" in answer.json()["message"]
