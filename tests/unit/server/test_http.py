"""The edge of the server: what is refused and how, what is logged, and the calls beside the protocol's own."""

from __future__ import annotations

import gzip
import json
import logging
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from score.errors import Conflict, Misconfigured, NoSpace, NotFound, Refused, ScoreError, Unavailable
from score.metadata.embedded import EmbeddedRegistry
from score.server import problems
from score.server.build import Service, assemble, open_service
from score.server.registry import registry_routes
from score.server.settings import Settings
from score.storage.base import ObjectStat
from score.storage.local import LocalStore
from score.storage.s3.settings import S3Settings
from score.testing.ego import FakeEgo
from score.testing.faults import Answer, Reset
from score.testing.minio import Minio
from score.testing.proxy import FaultProxy
from score.testing.s3_contract import boto
from score.testing.server import RunningServer
from score.testing.song import FakeSong

OBJECT = "5c0e0000-0000-4000-8000-000000000001"


def local(root: Path, **more: object) -> RunningServer:
    chosen = Settings.model_validate({"local.directory": root, "profiles": ("local",), **more})
    return RunningServer(lambda: open_service(chosen), chosen)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with local(tmp_path) as server:
        yield server


def problem(answer: Any, status: int, path: str) -> dict[str, Any]:
    """The document of a refusal, checked for its shape."""
    assert answer.status == status, answer.data
    assert answer.headers["content-type"] == "application/json"
    document: dict[str, Any] = json.loads(answer.data)
    assert list(document) == ["timestamp", "status", "error", "path", "message", "requestId"]
    assert (document["status"], document["path"]) == (status, path)
    assert document["message"]
    return document


def talk(server: RunningServer, *pieces: bytes) -> tuple[bytes, bytes]:
    """Send bytes as they are; the head and the body of what comes back until the server hangs up."""
    address = urlsplit(server.url)
    assert address.hostname
    assert address.port
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except ConnectionError:
            pass
        received = b""
        try:
            while more := connection.recv(65536):
                received += more
        except ConnectionError:
            pass
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


HOST = b"Host: x\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /profile HTTP/9.9\r\n\r\n",
        b"GET /profile HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /profile HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        b"GET /profile HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n",
        b"GET /profile HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n",
        b"GET /profile HTTP/1.1\r\nHost: a\r\nBad Header: x\r\nConnection: close\r\n\r\n",
        b"GET /pro\xfffile HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /profile?" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /profile HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET /profile HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 200_000,
        b"GET /profile HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 20_000 + b"\r\n",
        b"GET /profile HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_json(server: RunningServer, request_: bytes) -> None:
    head, body = talk(server, request_)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head
    assert {"timestamp", "status", "error", "path", "message", "requestId"} == json.loads(body).keys()


def test_http_1_0_needs_no_host(server: RunningServer) -> None:
    head, body = talk(server, b"GET /download/ping HTTP/1.0\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body.startswith(f"{server.url}/store/".encode())


def test_a_refusal_does_not_harm_the_next_connection(server: RunningServer, http: urllib3.PoolManager) -> None:
    talk(server, b"nonsense\r\n\r\n")
    assert http.request("GET", f"{server.url}/profile").data == b"s3"


@pytest.mark.parametrize(
    "path",
    ["/nonesuch", "/upload", "/upload/", "/upload/a/b/c", "/download/a/b", "//", "/upload/..%2f..%2fetc/x/y"],
)
def test_paths_that_are_none(server: RunningServer, path: str) -> None:
    head, body = talk(server, f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert json.loads(body)["status"] == 404
    assert ("ids of objects, studies and analyses have none" in json.loads(body)["message"]) is ("%2f" in path)


@pytest.mark.parametrize("object_id", ["x", "%00", "..%2f..%2fetc", "%F0%9F%92%A9", OBJECT + "0", OBJECT[:-1], "{}"])
def test_ids_that_are_none(server: RunningServer, object_id: str) -> None:
    for method, path in (
        ("GET", f"/upload/{object_id}"),
        ("POST", f"/upload/{object_id}/uploads?fileSize=5"),
        ("GET", f"/download/{object_id}?offset=0&length=-1"),
        ("DELETE", f"/upload/{object_id}"),
    ):
        head, body = talk(server, f"{method} {path} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
        status = json.loads(body)["status"]
        assert status in (400, 404), head
        assert head.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_slash_at_the_end_does_not_matter(server: RunningServer, http: urllib3.PoolManager) -> None:
    assert http.request("GET", f"{server.url}/profile/").data == b"s3"
    assert http.request("GET", f"{server.url}/upload/{OBJECT}/").data == b"false"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", f"/upload/{OBJECT}", {"GET", "POST", "DELETE"}),
        ("PUT", f"/upload/{OBJECT}/parts", {"POST", "DELETE"}),
        ("POST", "/profile", {"GET"}),
    ],
)
def test_methods_that_are_not_possible(
    server: RunningServer, http: urllib3.PoolManager, method: str, path: str, allowed: set[str]
) -> None:
    answer = http.request(method, server.url + path)
    problem(answer, 405, path)
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (f"POST /upload/{OBJECT}/uploads", "fileSize is missing"),
        (f"POST /upload/{OBJECT}/uploads?fileSize=1.0", "fileSize must be a whole number"),
        (f"POST /upload/{OBJECT}/uploads?fileSize=1_000", "fileSize must be a whole number"),
        (f"POST /upload/{OBJECT}/uploads?fileSize=99999999999999999999", "fileSize must be a whole number"),
        (f"POST /upload/{OBJECT}/uploads?fileSize=-1", "fileSize -1"),
        (f"POST /upload/{OBJECT}/uploads?fileSize=1&overwrite=x", "overwrite must be true or false"),
        (f"POST /upload/{OBJECT}/uploads?fileSize=1&md5=zz", "not an MD5"),
        (f"POST /upload/{OBJECT}/parts?partNumber=1&uploadId=u&md5=&etag=e", "md5 must be given"),
        (f"POST /upload/{OBJECT}/parts?partNumber=1&uploadId=../u&md5={'0' * 32}&etag={'0' * 32}", "upload id"),
        (f"GET /download/{OBJECT}?offset=0", "length is missing"),
        (f"GET /download/{OBJECT}?offset=0&length=-1&exclude-urls=perhaps", "exclude-urls must be true or false"),
        (f"GET /upload/{OBJECT}/status", "fileSize is missing"),
    ],
)
def test_wrong_parameters_are_named(server: RunningServer, http: urllib3.PoolManager, call: str, named: str) -> None:
    method, _, target = call.partition(" ")
    answer = http.request(method, server.url + target)
    assert named in problem(answer, 400, target.partition("?")[0])["message"]


def test_bodies_that_nobody_asked_for_are_ignored(server: RunningServer, http: urllib3.PoolManager) -> None:
    for _ in range(2):
        answer = http.request("GET", f"{server.url}/upload/{OBJECT}", body=b"x" * 1_000_000)
        assert answer.data == b"false"


def test_the_access_log_has_no_query(
    tmp_path: Path, http: urllib3.PoolManager, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), local(tmp_path) as server:
        url = http.request("GET", f"{server.url}/download/ping").data.decode()
        assert http.request("GET", url).status == 200
        assert http.request("GET", url.replace("signature=", "signature=0")).status == 403
        http.request("GET", f"{server.url}/a%0Ab?token=hunter2", headers={"Authorization": "Bearer hunter2"})
    lines = [record.getMessage() for record in caplog.records if not record.name.startswith("urllib3")]
    line = re.compile(r"127\.0\.0\.1 GET /store/object/data/heliograph (200|403) \d+\.\d ms [0-9a-f]{16}")
    assert sorted(found[1] for found in map(line.fullmatch, lines) if found) == ["200", "403"]
    said = "\n".join(lines)
    signature = url.partition("signature=")[2]
    for secret in (signature, "hunter2", "expires="):
        assert secret not in said
    assert "/a%0Ab 404" in said, "a line feed in a path does not make a line in the log"


def test_the_api_is_described_and_loads_nothing(server: RunningServer, http: urllib3.PoolManager) -> None:
    page = http.request("GET", f"{server.url}/swagger-ui.html")
    assert page.headers["content-type"] == "text/html;charset=UTF-8"
    for call in ("/upload/{object_id}/parts", "partNumber", "exclude-urls"):
        assert call in page.data.decode()
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", page.data.decode())
    description = json.loads(http.request("GET", f"{server.url}/v2/api-docs").data)
    assert set(description["paths"]["/upload/{object_id}"]) == {"get", "post", "delete"}


@pytest.mark.parametrize(
    "path", ["/profile", "/download/ping", "/listing", f"/upload/{'0' * 8}-0000-4000-8000-{'0' * 12}"]
)
def test_who_asks_for_the_head_alone_is_told_what_a_get_is(
    server: RunningServer, http: urllib3.PoolManager, path: str
) -> None:
    """Balancers and monitors do; Spring answers them wherever it answers a GET."""
    got, asked = (http.request(method, server.url + path) for method in ("GET", "HEAD"))
    assert (asked.status, asked.headers["content-type"]) == (200, got.headers["content-type"])
    assert asked.data == b""
    refused = http.request("HEAD", f"{server.url}/upload/cancel")
    assert (refused.status, refused.data) == (http.request("GET", f"{server.url}/upload/cancel").status, b"")


def test_health_is_never_cached_and_tells_of_a_lost_bucket(
    server: RunningServer, http: urllib3.PoolManager, tmp_path: Path
) -> None:
    for path in ("/health", "/actuator/health"):
        answer = http.request("GET", server.url + path)
        assert (answer.status, answer.json()["status"]) == (200, "UP")
        assert "no-store" in answer.headers["cache-control"]
        assert http.request("HEAD", server.url + path).status == 200
    components = http.request("GET", f"{server.url}/health").json()["components"]
    assert components.keys() == {"objectBucket", "stateBucket", "sentinel", "registry"}
    (tmp_path / "object" / "data" / "heliograph").unlink()
    report = http.request("GET", f"{server.url}/health")
    assert report.status == 200
    assert "heliograph" in report.json()["components"]["sentinel"]["problem"]
    shutil.rmtree(tmp_path / "object")
    report = http.request("GET", f"{server.url}/health")
    assert (report.status, report.json()["components"]["objectBucket"]["status"]) == (503, "DOWN")
    answer = http.request("GET", f"{server.url}/actuator/health")
    assert (answer.status, answer.json()) == (503, {"status": "DOWN"})


def test_browsers_may_call_from_the_origins_that_are_set(tmp_path: Path, http: urllib3.PoolManager) -> None:
    asked = {"Origin": "https://portal.example", "Access-Control-Request-Method": "POST"}
    with local(tmp_path, **{"server.cors.allowedOrigins": "https://portal.example, https://b.example"}) as server:
        answer = http.request("OPTIONS", f"{server.url}/upload/{OBJECT}", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://portal.example"
        answer = http.request("GET", f"{server.url}/profile", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
    with local(tmp_path) as server:
        answer = http.request("GET", f"{server.url}/profile", headers=asked)
        assert "access-control-allow-origin" not in answer.headers


def register(server: RunningServer, http: urllib3.PoolManager, size: int = 5) -> str:
    """The object id of a new file in the embedded registry."""
    study = f"S{uuid.uuid4().hex[:6]}"
    http.request("POST", f"{server.url}/studies/{study}/", json={"studyId": study})
    file = {"fileName": "f", "fileSize": size, "fileMd5sum": "0" * 32, "fileAccess": "open", "fileType": "X"}
    payload = {"studyId": study, "analysisType": {"name": "x"}, "files": [file]}
    analysis = http.request("POST", f"{server.url}/submit/{study}", json=payload).json()["analysisId"]
    files = http.request("GET", f"{server.url}/studies/{study}/analysis/{analysis}/files").json()
    return str(files[0]["objectId"])


def test_large_answers_are_compressed_where_that_is_wanted(server: RunningServer, http: urllib3.PoolManager) -> None:
    target = f"{server.url}/upload/{register(server, http)}/uploads?fileSize=20000000000"
    plain = http.request("POST", target)
    assert "content-encoding" not in plain.headers
    packed = http.request("POST", target, headers={"Accept-Encoding": "gzip, deflate"}, decode_content=False)
    assert packed.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(packed.data))["parts"]) == len(plain.json()["parts"]) == 1000
    small = http.request("GET", f"{server.url}/listing", headers={"Accept-Encoding": "gzip"}, decode_content=False)
    assert "content-encoding" not in small.headers


def test_urls_of_the_local_store_name_the_host_that_was_asked(tmp_path: Path, http: urllib3.PoolManager) -> None:
    with local(tmp_path) as server:
        named = http.request("GET", f"{server.url}/download/ping", headers={"Host": "score.example:8443"})
        assert named.data.startswith(b"http://score.example:8443/store/")
    with local(tmp_path, **{"server.publicUrl": "https://score.example/"}) as server:
        assert http.request("GET", f"{server.url}/download/ping").data.startswith(b"https://score.example/store/")


@pytest.mark.needs("minio")
def test_faults_of_store_song_and_ego_have_their_status(minio: Minio, http: urllib3.PoolManager) -> None:
    """503 for what may pass, 500 for what will not: clients and Song retry a 503."""
    client = boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))
    names = [f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("object", "state")]
    for name in names:
        client.create_bucket(Bucket=name)
    with FaultProxy(minio.endpoint) as store, FakeSong() as song, FakeEgo() as ego:
        file = song.register("f", analysis="a")
        chosen = Settings.model_validate(
            {
                "s3.endpoint": store.url, "s3.accessKey": minio.access_key, "s3.secretKey": minio.secret_key,
                "bucket.name.object": names[0], "bucket.name.state": names[1], "metadata.url": song.url,
                "upload.retry.limit": 1, "auth.server.url": ego.check_url, "auth.server.clientId": ego.client_id,
                "auth.server.clientSecret": ego.client_secret, "auth.connection.maxRetries": 0,
                "profiles": ("s3", "secure"),
            }
        )  # fmt: skip
        with RunningServer(lambda: open_service(chosen)) as server:
            start = f"/upload/{file.object_id}/uploads"

            def call() -> Any:
                headers = {"Authorization": f"Bearer {ego.issue_key('score.WRITE')}"}
                return http.request("POST", f"{server.url}{start}?fileSize=5&overwrite=true", headers=headers)

            assert call().status == 200
            store.traffic.inject(Answer.denied(), times=None)
            document = problem(call(), 500, start)
            assert "AccessDenied" in document["message"]
            assert chosen.s3_secret_key.get_secret_value() not in json.dumps(document)
            for fault in (Answer.unavailable(), Reset()):
                store.traffic.heal()
                store.traffic.inject(fault, times=None)
                problem(call(), 503, start)
            store.traffic.heal()
            song.traffic.inject(Answer(500, b"{}"), times=None)
            problem(call(), 503, start)
            song.traffic.heal()
            ego.traffic.inject(Answer.unavailable(), times=None)
            problem(call(), 503, start)
            ego.traffic.heal()
            assert call().status == 200


@pytest.mark.parametrize(
    ("kind", "status", "of_song", "logged"),
    [
        (NoSpace, 507, 507, True),
        (Refused, 500, 500, True),
        (Unavailable, 503, 503, True),
        (Conflict, 400, 409, False),
    ],
)
def test_a_disk_that_is_full_or_fails_is_answered_and_logged(
    tmp_path: Path,
    http: urllib3.PoolManager,
    caplog: pytest.LogCaptureFixture,
    kind: type[ScoreError],
    status: int,
    of_song: int,
    logged: bool,
) -> None:
    """Also by calls that move no bytes: who mends it reads the log. What a caller got wrong is not in it."""

    class Failing(LocalStore):
        """A store on a bad disk."""

        async def stat(self, key: str) -> ObjectStat | None:
            raise kind("The bucket cannot be used.", hint="Mend it.")

    class FailingRegistry(EmbeddedRegistry):
        """A registry on a bad disk."""

        async def create_study(self, study: str, document: Mapping[str, object]) -> None:
            raise kind("The registry cannot be used.", hint="Mend it.")

    async def opening() -> Service:
        chosen = Settings.model_validate({"profiles": ("local",)})
        objects, state = LocalStore(tmp_path, "object", base=str), Failing(tmp_path, "state", base=str)
        registry = FailingRegistry(tmp_path)
        broker = assemble(chosen, objects, state, registry, None)
        return Service(
            broker, objects, state, registry, None, registry_routes(registry, broker.downloads, broker.access)
        )

    with RunningServer(opening) as server:
        assert http.request("GET", f"{server.url}/upload/{OBJECT}").status == status
        assert http.request("POST", f"{server.url}/studies/S/", json={"studyId": "S"}).status == of_song
    said = [one.getMessage() for one in caplog.records if one.name == "score.server.problems"]
    assert [re.sub(r"^Request [0-9a-f]{16}: ", "", line) for line in said] == [
        "The bucket cannot be used. Mend it.",
        "The registry cannot be used. Mend it.",
    ] * logged


def test_a_defect_is_answered_and_its_cause_not_shown(
    tmp_path: Path, http: urllib3.PoolManager, caplog: pytest.LogCaptureFixture
) -> None:
    class Defective(LocalStore):
        """A store with a defect."""

        async def stat(self, key: str) -> ObjectStat | None:
            raise ZeroDivisionError("hunter2")

    async def opening() -> Service:
        chosen = Settings.model_validate({"profiles": ("local",)})
        objects, state = LocalStore(tmp_path, "object", base=str), Defective(tmp_path, "state", base=str)
        registry = EmbeddedRegistry(tmp_path)
        return Service(assemble(chosen, objects, state, registry, None), objects, state, registry, None)

    with RunningServer(opening) as server:
        answer = http.request("GET", f"{server.url}/upload/{OBJECT}")
        assert "hunter2" not in json.dumps(problem(answer, 500, f"/upload/{OBJECT}"))
        assert http.request("GET", f"{server.url}/profile").data == b"s3"
    assert any(record.exc_info for record in caplog.records), "the log has the traceback"


def test_every_error_has_a_status() -> None:
    def all_kinds(kind: type[ScoreError]) -> Iterator[type[ScoreError]]:
        for below in kind.__subclasses__():
            yield below
            yield from all_kinds(below)

    from score import errors

    own = {kind for kind in all_kinds(ScoreError) if kind.__module__ == errors.__name__}
    assert own == problems.STATUS.keys()

    class Special(NotFound):
        """A kind of its own."""

    assert problems.status_of(Special("x")) == 404
    assert problems.status_of(Misconfigured("x")) == 500
