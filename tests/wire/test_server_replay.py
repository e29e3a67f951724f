"""Our server answers the requests recorded with the reference as the reference did, but for the contract's "Ours".

Every case runs on MinIO and on a local store. What is told to differ stands in ``DEVIATIONS``, ``_ours`` and
``_ours_in_state``; nothing else may.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import urllib3

from score.broker.state import Layout
from score.metadata.song import Song
from score.protocol.parts import Span
from score.server.build import Service, assemble, open_authorizer, open_service
from score.server.edge import BASE
from score.server.plane import data_plane
from score.server.settings import JWT, Settings
from score.storage.local import LocalStore
from score.storage.s3.settings import S3Settings
from score.testing.ego import FakeEgo
from score.testing.minio import Minio
from score.testing.s3_contract import boto
from score.testing.server import RunningServer
from score.testing.song import FakeSong

RECORDED = Path(__file__).parent / "recorded"
PAYLOAD_SIZE = 20 * 1024 * 1024 + 1000
PART_SIZE = 20 * 1024 * 1024
Json = Any

# What is different on purpose: the status, and why. "Ours" in the contract's sections 2 to 4 and 7.
DEVIATIONS = {
    ("part-errors", 12): (400, "a part whose md5 and ETag disagree is refused: every later download would fail"),
    ("open-calls", 4): (200, "/health is there, and lists components"),
    ("open-calls", 5): (200, "/profile is open"),
    ("authorization", 14): (401, "an upload without a token, which the reference calls a bad request"),
    ("authorization", 42): (401, "an upload without a token, which the reference calls a bad request"),
}

# After which step of server.jsonl a step of state.jsonl was taken.
STATE_AFTER = {
    ("life-cycle", 2): 1, ("life-cycle", 4): 2, ("life-cycle", 6): 3, ("life-cycle", 8): 4, ("life-cycle", 10): 5,
    ("resume", 1): 6, ("resume", 3): 7, ("resume", 11): 8, ("resume", 12): 9, ("resume", 17): 10,
    ("cancel", 3): 12, ("cancel", 4): 13, ("overwrite", 7): 14, ("overwrite", 12): 15, ("started-twice", 3): 16,
    ("started-twice", 4): 17,
}  # fmt: skip


def lines(name: str) -> list[Json]:
    return [json.loads(line) for line in (RECORDED / name).read_text(encoding="utf-8").splitlines()]


SERVER = lines("server.jsonl")
STATE = {line["step"]: line for line in lines("state.jsonl") if "step" in line}
CASES = [line["case"] for line in SERVER if "says" in line]
PUBLISHED_BEFORE = {f"5c0e0000-0000-4000-8000-0000000000{number}" for number in ("08", "09", "10")}


class Bucket(Protocol):
    """A store seen past our own code: what lies in it, and how to put something there."""

    metadata: bool

    def put(self, key: str, data: bytes, metadata: dict[str, str]) -> None: ...

    def keys(self, bucket: str) -> dict[str, bytes]: ...

    def open_uploads(self) -> list[str]: ...

    def check_url(self, recorded: str, actual: str, placeholders: Placeholders) -> None: ...


@dataclass
class Placeholders:
    """What ``<uploadId>`` and its like stand for in this run; bound where they first appear in an answer."""

    bound: dict[str, str] = field(default_factory=dict)

    def fill(self, text: str) -> str:
        for name, value in self.bound.items():
            text = text.replace(name, value)
        return text

    def match(self, recorded: str, actual: str) -> None:
        """Compare two texts, binding what is new."""
        if re.fullmatch(r"<uploadId(-\d+)?>", recorded) and recorded not in self.bound:
            assert actual not in self.bound.values(), "a new upload has the id of an older one"
            self.bound[recorded] = actual
        assert self.fill(recorded) == actual


class S3Buckets:
    """Two buckets of MinIO."""

    metadata = True

    def __init__(self, minio: Minio, tag: str) -> None:
        self._client = boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))
        self.names = {"object": f"object-{tag}", "state": f"state-{tag}"}
        self._host = urlsplit(minio.endpoint).netloc
        for name in self.names.values():
            self._client.create_bucket(Bucket=name)

    def put(self, key: str, data: bytes, metadata: dict[str, str]) -> None:
        self._client.put_object(Bucket=self.names["object"], Key=key, Body=data, Metadata=metadata)

    def keys(self, bucket: str) -> dict[str, bytes]:
        name = self.names[bucket]
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=name)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key: self._client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}

    def open_uploads(self) -> list[str]:
        found = self._client.list_multipart_uploads(Bucket=self.names["object"])
        return [upload["UploadId"] for upload in found.get("Uploads", ())]

    def check_url(self, recorded: str, actual: str, placeholders: Placeholders) -> None:
        ours, theirs = urlsplit(actual), urlsplit(recorded)
        assert ours.netloc == self._host
        assert ours.path == theirs.path.replace("/object/", f"/{self.names['object']}/", 1)
        have, wanted = dict(parse_qsl(ours.query)), dict(parse_qsl(theirs.query))
        assert have.keys() == wanted.keys()
        for name, value in wanted.items():
            if found := re.fullmatch(r"<expires:(\d+)>", value):
                assert int(found[1]) - 60 < int(have[name]) <= int(found[1])
            elif name in ("X-Amz-Date", "X-Amz-Credential", "X-Amz-Signature"):
                assert have[name]
            else:
                placeholders.match(value, have[name])


class DiskBuckets:
    """Two buckets of a local store."""

    metadata = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self.base = ""

    def put(self, key: str, data: bytes, metadata: dict[str, str]) -> None:
        path = self._root / "object" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def keys(self, bucket: str) -> dict[str, bytes]:
        folder = self._root / bucket
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def open_uploads(self) -> list[str]:
        return [path.name for path in (self._root / ".uploads" / "object").iterdir()]

    def check_url(self, recorded: str, actual: str, placeholders: Placeholders) -> None:
        ours, theirs = urlsplit(actual), urlsplit(recorded)
        assert f"{ours.scheme}://{ours.netloc}" == self.base
        assert ours.path == f"/store{theirs.path}"
        have, wanted = dict(parse_qsl(ours.query)), dict(parse_qsl(theirs.query))
        assert have["expires"].isdigit()
        assert have["signature"]
        for name in wanted.keys() & {"uploadId", "partNumber"}:
            placeholders.match(wanted[name], have[name])


@dataclass
class World:
    """The server under test and its surroundings."""

    url: str
    buckets: Bucket
    song: FakeSong
    ego: FakeEgo
    keys: dict[str, str]


def settings(ego: FakeEgo, **more: object) -> Settings:
    return Settings.model_validate(
        {
            "upload.partsize": PART_SIZE,
            "auth.cache.seconds": 0,  # the surroundings change between calls
            "auth.server.url": ego.check_url,
            "auth.server.clientId": ego.client_id,
            "auth.server.clientSecret": ego.client_secret,
            f"{JWT}.public-key-location": ego.public_key_url,
            **more,
        }
    )


@pytest.fixture(scope="module")
def payload() -> bytes:
    return random.Random(1).randbytes(PAYLOAD_SIZE)


@pytest.fixture(params=[pytest.param("minio", marks=pytest.mark.needs("minio")), "local"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with FakeSong() as song, FakeEgo() as ego:
        if request.param == "minio":
            minio: Minio = request.getfixturevalue("minio")
            buckets = S3Buckets(minio, random.randbytes(4).hex())
            opening = on_s3(minio, buckets, song, ego)
            with RunningServer(opening) as server:
                yield populate(server.url, buckets, song, ego)
        else:
            disk = DiskBuckets(tmp_path)
            with RunningServer(on_disk(tmp_path, song, ego)) as server:
                disk.base = server.url
                yield populate(server.url, disk, song, ego)


def on_s3(minio: Minio, buckets: S3Buckets, song: FakeSong, ego: FakeEgo) -> Callable[[], Awaitable[Service]]:
    given = {
        "s3.endpoint": minio.endpoint,
        "s3.accessKey": minio.access_key,
        "s3.secretKey": minio.secret_key,
        "bucket.name.object": buckets.names["object"],
        "bucket.name.state": buckets.names["state"],
        "metadata.url": song.url,
        "profiles": ("s3", "secure"),
    }
    return lambda: open_service(settings(ego, **given))


def on_disk(root: Path, song: FakeSong, ego: FakeEgo) -> Callable[[], Awaitable[Service]]:
    """A local store, with Song in place of the embedded registry, which gives out ids of its own."""

    async def opening() -> Service:
        chosen = settings(ego, profiles=("local", "secure"))
        objects, state = (LocalStore(root, name, base=BASE.get) for name in ("object", "state"))
        registry, authorizer = Song(song.url), open_authorizer(chosen)
        broker = assemble(chosen, objects, state, registry, authorizer)
        return Service(broker, objects, state, registry, authorizer, data_plane(objects, state))

    return opening


def populate(url: str, buckets: Bucket, song: FakeSong, ego: FakeEgo) -> World:
    for number in range(1, 14):
        object_id = f"5c0e0000-0000-4000-8000-0000000000{number:02d}"
        song.register(f"file-{number}", analysis=f"analysis-{number}", object_id=object_id)
        if object_id in PUBLISHED_BEFORE:
            song.set_state(f"analysis-{number}", "PUBLISHED")
    buckets.put(Layout().sentinel("heliograph"), b"", {})
    buckets.put(Layout().object("5c0e0000-0000-4000-8000-000000000010"), bytes(50), {})
    # Ego lets whoever may write also read, where the recorded keys could not: those are JWTs here.
    keys = {
        "sys": ego.issue_key("score.READ", "score.WRITE"),
        "studyR": ego.issue_key("PROGRAMDATA-TEST-CA.READ"),
        "studyW": ego.issue_jwt("PROGRAMDATA-TEST-CA.WRITE"),
        "unrelated": ego.issue_key("song.READ"),
        "sysR": ego.issue_key("score.READ"),
        "sysW": ego.issue_jwt("score.WRITE"),
        "otherR": ego.issue_key("PROGRAMDATA-OTHER.READ"),
        "otherW": ego.issue_key("PROGRAMDATA-OTHER.WRITE"),
        "mixedcase": ego.issue_key("SCORE.read", "Score.Write"),
    }
    ego.traffic.wait_for(method="GET", path="/oauth/token/public_key")
    return World(url, buckets, song, ego, keys)


@dataclass
class Replay:
    """One case on its way: the calls made so far decide what the placeholders and URLs of the next ones are."""

    case: str
    world: World
    payload: bytes
    http: urllib3.PoolManager
    placeholders: Placeholders = field(default_factory=Placeholders)
    objects: dict[str, Placeholders] = field(default_factory=dict)
    urls: list[tuple[str, str, Span | None]] = field(default_factory=list)

    def change_surroundings(self, line: Json) -> None:
        if told := line.get("song"):
            analysis = f"analysis-{int(told['object'][-2:])}"
            if "analysisState" in told:
                self.world.song.set_state(analysis, told["analysisState"])
            if "access" in told:
                number = int(told["object"][-2:])
                self.world.song.register(
                    f"file-{number}",
                    analysis=analysis,
                    object_id=told["object"],
                    access=told["access"],
                    study=told["study"],
                )
        if told := line.get("store"):
            md5 = base64.b64encode(bytes.fromhex("d314946e9e6ef4cce649f8f569a1177d")).decode()
            self.world.buckets.put(told["key"], bytes(11), {"md5chksum": md5})

    def call(self, line: Json) -> None:
        request, recorded = line["request"], line["response"]
        step = line["step"]
        if request["to"] == "store":
            self._call_store(request, recorded)
            return
        if found := re.search(r"[0-9a-f-]{36}", request["path"]):  # upload ids are numbered within each object
            self.placeholders = self.objects.setdefault(found[0], Placeholders())
        query = {name: self.placeholders.fill(value) for name, value in (request["query"] or {}).items()}
        headers = {name: self._secret(value) for name, value in (request["headers"] or {}).items()}
        target = f"{self.world.url}{request['path']}" + (f"?{urlencode(query)}" if query else "")
        answer = self.http.request(request["method"], target, headers=headers)
        status, why = DEVIATIONS.get((self.case, step), (recorded["status"], ""))
        assert answer.status == status, why or answer.data
        if not why:
            if str(recorded["body"]).startswith(
                "Token missing"
            ):  # the reference's text, which ours begins with, in JSON as all refusals are
                document = json.loads(answer.data)
                assert document["message"].startswith(f"{recorded['body']}: this needs ")
                _ours(document, recorded["status"], request["path"])
                return
            self._compare_headers(recorded["headers"], answer.headers)
            self._compare_body(recorded, answer, request["path"])

    def _secret(self, value: str) -> str:
        ego = self.world.ego
        if found := re.search(r"<key:(\w+)>", value):
            return value.replace(found[0], self.world.keys[found[1]])
        if found := re.search(r"<JWT with context.scope \[(.*?)\]>", value):
            return value.replace(found[0], ego.issue_jwt(found[1]))
        if found := re.search(r"<JWT without scopes>", value):
            return value.replace(found[0], ego.issue_jwt())
        if found := re.search(r"<JWT expired two minutes ago>", value):
            return value.replace(found[0], ego.issue_jwt(lasts=-120))
        assert "<" not in value
        return value

    def _compare_headers(self, recorded: dict[str, str], actual: Any) -> None:
        for name, value in recorded.items():
            if name == "allow":
                assert set(actual[name].split(", ")) == set(value.split(", "))
            elif name == "www-authenticate":
                # the wording of the reason is each one's own
                assert re.sub(r'description="[^"]*"', "", actual[name]) == re.sub(r'description="[^"]*"', "", value)
            else:
                assert actual[name] == value

    def _compare_body(self, recorded: Json, answer: Any, path: str) -> None:
        body = recorded["body"]
        if (recorded["status"] >= 400 and not isinstance(body, str)) or recorded["status"] == 401:
            document = json.loads(answer.data)
            _ours(document, recorded["status"], path)
            if isinstance(body, dict):
                assert document | {"timestamp": "<timestamp>"} == body
        elif isinstance(body, dict):
            self._compare(body, json.loads(answer.data))
        elif isinstance(body, str) and body.startswith("http"):
            self.world.buckets.check_url(body, answer.data.decode(), self.placeholders)
            self.urls.append((body, answer.data.decode(), None))
        elif isinstance(body, str):
            assert answer.data.decode() == body
        else:
            assert json.loads(answer.data) == body

    def _compare(self, recorded: Json, actual: Json) -> None:
        """Two specifications or progress reports."""
        assert list(recorded) == list(actual)  # the fields in their order
        for name, value in recorded.items():
            if name == "parts":
                self._compare_parts(value, actual["parts"], is_status="objectSize" not in recorded)
            elif isinstance(value, str):
                self.placeholders.match(value, actual[name])
            else:
                assert actual[name] == value

    def _compare_parts(self, recorded: list[Json], actual: list[Json], is_status: bool) -> None:
        if any("<omitted>" in part for part in recorded):
            omitted = sum(part.get("<omitted>", 0) for part in recorded)
            recorded = [part for part in recorded if "<omitted>" not in part]
            assert len(actual) == len(recorded) + omitted
            actual = [*actual[: len(recorded) - 1], actual[-1]]
        assert len(actual) == len(recorded)
        for theirs, ours in zip(recorded, actual, strict=True):
            wanted = dict(theirs)
            if is_status and "sourceMd5" in wanted:
                wanted["md5"] = wanted["sourceMd5"]  # Ours: filled too, so that the reference's client resumes
            if wanted["url"] is not None:
                self.world.buckets.check_url(wanted["url"], ours["url"], self.placeholders)
                span = Span(ours["offset"], ours["partSize"]) if ours["partSize"] > 0 else None
                self.urls.append((wanted["url"], ours["url"], span))
                wanted["url"] = ours["url"]
            assert ours == wanted

    def _call_store(self, request: Json, recorded: Json) -> None:
        asked = (request["headers"] or {}).get("Range")
        fitting = [
            (url, span)
            for pattern, url, span in reversed(self.urls)
            if pattern == request["url"]
            and (asked is None or "range" not in pattern or (span and span.http_range == asked))
        ]
        url, span = fitting[0]
        body = None
        if request["method"] == "PUT":
            told = request["body"]
            at = span.offset if span else 0
            body = told["text"].encode() if "text" in told else self.payload[at : at + told["size"]]
            assert hashlib.md5(body).hexdigest() == told["md5"]
        answer = self.http.request(request["method"], url, body=body, headers=request["headers"] or {})
        assert answer.status == recorded["status"], answer.data
        # the ETag of a whole object is each store's own
        for name in ("etag", "content-range") if request["method"] == "PUT" else ("content-range",):
            if name in recorded["headers"]:
                assert answer.headers[name] == recorded["headers"][name]
        if isinstance(recorded["body"], dict):
            assert len(answer.data) == recorded["body"]["size"]
            assert hashlib.md5(answer.data).hexdigest() == recorded["body"]["md5"]
        elif recorded["status"] >= 400:
            assert recorded["body"] in answer.data.decode()

    def compare_state(self, recorded: Json) -> None:
        wanted_uploads = recorded["multipart_uploads"]
        assert self.world.buckets.open_uploads() == [self.placeholders.fill(one) for one in wanted_uploads]
        number = next((o["key"] for o in recorded["objects"]), "")
        for bucket in ("object", "state"):
            kept = {
                key: data
                for key, data in self.world.buckets.keys(bucket).items()
                if "5c0e0000" in key and not key.endswith("0010")
            }
            wanted = {
                self.placeholders.fill(one["key"]): one for one in recorded["objects"] if one["bucket"] == bucket
            }
            assert kept.keys() == wanted.keys(), number
            for key, told in wanted.items():
                if "json" in told:
                    self._compare(told["json"], json.loads(kept[key]))
                    document = json.dumps(told["json"], separators=(",", ":"), ensure_ascii=False)
                    assert _without_url(kept[key].decode()) == _without_url(self.placeholders.fill(document))
                else:
                    assert len(kept[key]) == told["size"]
                    assert told.get("md5") in (None, hashlib.md5(kept[key]).hexdigest())


def _without_url(document: str) -> str:
    """A document byte for byte, but for what its URLs are."""
    return re.sub(r'"url":"[^"]*"', '"url":"..."', document)


def _ours(document: Json, status: int, path: str) -> None:
    """Every refusal has a JSON body and in it a message and the id of its request, which are taken out."""
    assert document["message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", document["timestamp"])
    assert (document["status"], document["path"]) == (status, path)
    assert document["requestId"]
    del document["message"], document["requestId"]


def _ours_in_state(recorded: Json, *, overwrite: bool = False) -> Json:
    """The state as it is with ours: no multipart upload without state, no signed URL in a final ``.meta``, and a mark
    on an upload that is to replace nothing."""
    changed = json.loads(json.dumps(recorded))
    if recorded["step"] == 17:
        changed["multipart_uploads"].remove("<uploadId>")
    for told in changed["objects"]:
        if told["key"].startswith("data/") and "json" in told:
            for part in told["json"]["parts"]:
                part["url"] = None
        elif told["key"].startswith("upload/") and "json" in told and not overwrite:
            told["json"]["overwrite"] = False
    return changed


@pytest.mark.parametrize("case", CASES)
def test_recorded_case(case: str, world: World, payload: bytes) -> None:
    """Replay one case, with the state in the store after each step where it was recorded."""
    skipped_on_disk = {("without-meta", 5)}  # user metadata, which files of a disk do not have
    with urllib3.PoolManager(retries=False, timeout=60) as http:
        replay = Replay(case, world, payload, http)
        if case == "without-meta":
            world.buckets.put(Layout().object("5c0e0000-0000-4000-8000-000000000008"), bytes(11), {})
        if case == "life-cycle":
            replay.compare_state(_ours_in_state(STATE[1]))
        for line in SERVER:
            if line["case"] != case or "says" in line:
                continue
            if "request" not in line:
                replay.change_surroundings(line)
                continue
            if (case, line["step"]) in skipped_on_disk and not world.buckets.metadata:
                continue
            replay.call(line)
            if after := STATE_AFTER.get((case, line["step"])):
                replay.compare_state(_ours_in_state(STATE[after], overwrite=case == "overwrite"))


def test_every_deviation_is_of_a_recorded_step() -> None:
    steps = {(line["case"], line["step"]): line for line in SERVER if "step" in line}
    for at, (status, why) in DEVIATIONS.items():
        assert why
        assert steps[at]["response"]["status"] != status
