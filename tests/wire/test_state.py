"""State that the reference left, laid into MinIO byte for byte, is gone on with by our server.

What ours writes at each step is held against the same recordings by ``test_server_replay``.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from score.server.build import open_service
from score.server.settings import Settings
from score.storage.s3.settings import S3Settings
from score.testing.minio import Minio
from score.testing.s3_contract import boto
from score.testing.server import RunningServer
from score.testing.song import FakeSong

pytestmark = pytest.mark.needs("minio")

RECORDED = Path(__file__).parent / "recorded"
Json = Any


def lines(name: str) -> list[Json]:
    return [json.loads(line) for line in (RECORDED / name).read_text(encoding="utf-8").splitlines()]


STATES = [line for line in lines("state.jsonl") if line.get("objects")]


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def payloads() -> dict[str, bytes]:
    """The bytes of every object and part of the recordings, by MD5."""
    large = random.Random(1).randbytes(20 * 1024 * 1024 + 1000)
    cut = 20 * 1024 * 1024
    texts = [(line.get("request", {}).get("body") or {}).get("text", "") for line in lines("server.jsonl")]
    known = [large, large[:cut], large[cut:], *[text.encode() for text in texts]]
    return {md5(one): one for one in known}


PAYLOADS = payloads()


def payload(told: Json) -> bytes:
    """The bytes of an object; of that of another tool only their number is known."""
    return PAYLOADS.get(told.get("md5", ""), bytes(told["size"]))


def written(document: Json) -> bytes:
    """A document as the reference writes it: compact, its fields in the order in which they were recorded."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass
class World:
    """Our server on two buckets, and the buckets past it."""

    url: str
    store: str
    s3: Any
    names: dict[str, str]
    song: FakeSong
    http: urllib3.PoolManager
    bound: dict[str, str] = field(default_factory=dict)

    def fill(self, text: str) -> str:
        for name, value in self.bound.items():
            text = text.replace(name, value)
        return text

    def lay(self, state: Json) -> None:
        """Put into the store what was recorded: uploads with the parts that are finished, state, and objects."""
        self.bound = {"<store>": self.store}
        object_id = id_of(state)
        for name in state["multipart_uploads"]:
            place = {"Bucket": self.names["object"], "Key": f"data/{object_id}"}
            self.bound[name] = self.s3.create_multipart_upload(**place)["UploadId"]
        for told in state["objects"]:
            for name in re.findall(r"<uploadId(?:-2)?>", json.dumps(told)):
                self.bound.setdefault(name, uuid.uuid4().hex)  # of a completed upload only the name is left
            key = self.fill(told["key"])
            if "/part-" in key:
                self._send(object_id, key)
            body = self.fill(written(told["json"]).decode()).encode() if "json" in told else payload(told)
            self.s3.put_object(Bucket=self.names[told["bucket"]], Key=key, Body=body)

    def _send(self, object_id: str, key: str) -> None:
        """The part that a record in this key is of."""
        record = json.loads(key.partition("|")[2])
        self.s3.upload_part(
            Bucket=self.names["object"],
            Key=f"data/{object_id}",
            UploadId=key.partition("_")[2].partition("/")[0],
            PartNumber=record["partNumber"],
            Body=PAYLOADS[record["etag"]],
        )

    def call(self, method: str, path: str, status: int = 200, **query: object) -> Any:
        answer = self.http.request(method, f"{self.url}{path}" + (f"?{urlencode(query)}" if query else ""))
        assert answer.status == status, answer.data
        return json.loads(answer.data) if answer.data else None

    def keys(self, bucket: str) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=self.names[bucket]).get("Contents", [])
        return [entry["Key"] for entry in listed]

    def get(self, bucket: str, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.names[bucket], Key=key)["Body"].read()
        return body


@pytest.fixture
def world(minio: Minio) -> Iterator[World]:
    tag = uuid.uuid4().hex[:8]
    names = {kind: f"{kind}-{tag}" for kind in ("object", "state")}
    s3 = boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))
    for name in names.values():
        s3.create_bucket(Bucket=name)
    with FakeSong() as song, urllib3.PoolManager(retries=False, timeout=60) as http:
        given = {
            "s3.endpoint": minio.endpoint,
            "s3.accessKey": minio.access_key,
            "s3.secretKey": minio.secret_key,
            "bucket.name.object": names["object"],
            "bucket.name.state": names["state"],
            "metadata.url": song.url,
            "profiles": ("s3",),
        }
        chosen = Settings.model_validate(given)
        with RunningServer(lambda: open_service(chosen)) as server:
            yield World(server.url, minio.endpoint.removeprefix("http://"), s3, names, song, http)
    s3.close()


def id_of(state: Json) -> str:
    """The object that a recorded state is of."""
    return str(re.sub(r"^(data|upload)/", "", state["objects"][0]["key"])[:36])


def in_progress(state: Json) -> Json | None:
    """The specification of the upload in progress."""
    return next((one["json"] for one in state["objects"] if one["key"].startswith("upload/") and "json" in one), None)


def named(state: Json) -> str:
    return f"{state['step']}-{state['case']}"


@pytest.mark.parametrize("state", [one for one in STATES if in_progress(one)], ids=named)
def test_an_upload_of_the_reference_is_resumed_and_completed(world: World, state: Json) -> None:
    specification = in_progress(state)
    assert specification is not None
    object_id, size = id_of(state), specification["objectSize"]
    world.song.register("file", analysis="analysis", object_id=object_id)
    world.lay(state)
    recorded = [json.loads(one["key"].partition("|")[2]) for one in state["objects"] if "/part-" in one["key"]]
    finished = {one["partNumber"]: one["md5"] for one in recorded if one["md5"] == one["etag"]}

    progress = world.call("GET", f"/upload/{object_id}/status", fileSize=size)
    upload = world.fill(specification["uploadId"])
    assert progress["uploadId"] == upload
    assert {p["partNumber"]: p["md5"] for p in progress["parts"] if p.get("sourceMd5")} == finished
    assert [{name: p[name] for name in ("partNumber", "partSize", "offset")} for p in progress["parts"]] == [
        {name: p[name] for name in ("partNumber", "partSize", "offset")} for p in specification["parts"]
    ]
    # The bytes are known by the MD5 of the whole, or by that of the only part; else any will do.
    known = {specification["objectMd5"], *(one["etag"] for one in recorded)}
    whole = next((data for name, data in PAYLOADS.items() if name in known and len(data) == size), bytes(size))
    md5s = dict(finished)
    for part in progress["parts"]:
        if part["partNumber"] in finished:
            continue
        piece = whole[part["offset"] : part["offset"] + part["partSize"]]
        assert world.http.request("PUT", part["url"], body=piece).status == 200
        md5s[part["partNumber"]] = md5(piece)
        told = {"partNumber": part["partNumber"], "uploadId": upload, "md5": md5(piece), "etag": md5(piece)}
        world.call("POST", f"/upload/{object_id}/parts", **told)
    world.call("POST", f"/upload/{object_id}", uploadId=upload)
    world.call("POST", f"/upload/{object_id}", uploadId=upload)

    assert world.keys("object") == [f"data/{object_id}"]
    assert world.keys("state") == [f"data/{object_id}.meta"], "the state of the upload is gone"
    assert md5(world.get("object", f"data/{object_id}")) == md5(whole)
    for part in specification["parts"]:
        part["url"], part["sourceMd5"] = None, md5s[part["partNumber"]]
    assert world.get("state", f"data/{object_id}.meta").decode() == world.fill(written(specification).decode())


@pytest.mark.parametrize("state", [one for one in STATES if not in_progress(one)], ids=named)
def test_an_object_of_the_reference_is_served(world: World, state: Json) -> None:
    object_id = id_of(state)
    world.song.register("file", analysis="analysis", object_id=object_id)
    world.lay(state)
    final = next((one["json"] for one in state["objects"] if "json" in one), None)
    (told,) = [one for one in state["objects"] if one["bucket"] == "object"]
    before = {bucket: {key: world.get(bucket, key) for key in world.keys(bucket)} for bucket in world.names}
    assert world.call("GET", f"/upload/{object_id}") is bool(final)
    world.call("GET", f"/upload/{object_id}/status", status=404, fileSize=told["size"])
    if final:
        world.call("POST", f"/upload/{object_id}", uploadId=world.fill(final["uploadId"]))
    world.song.set_state("analysis", "PUBLISHED")
    answer = world.call("GET", f"/download/{object_id}", offset=0, length=-1)
    assert answer["objectSize"] == told["size"]
    pieces = []
    for part in answer["parts"]:
        span = f"bytes={part['offset']}-{part['offset'] + part['partSize'] - 1}"
        pieces.append(world.http.request("GET", part["url"], headers={"Range": span}).data)
    assert b"".join(pieces) == payload(told)
    if final:
        assert [part["sourceMd5"] for part in answer["parts"]] == [part["sourceMd5"] for part in final["parts"]]
        assert [md5(piece) for piece in pieces] == [part["sourceMd5"] for part in final["parts"]]
    after = {bucket: {key: world.get(bucket, key) for key in world.keys(bucket)} for bucket in world.names}
    assert after == before, "nothing that the reference wrote is written anew"


def test_every_kind_of_state_was_recorded() -> None:
    cases = {state["case"] for state in STATES}
    assert cases >= {"life-cycle", "resume", "part-errors", "cancel", "overwrite", "started-twice", "without-meta"}
    assert len(STATES) >= 15
