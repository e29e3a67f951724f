"""What callers and broken state give a server on MinIO: refused by a 4xx whose JSON says why, and no key, bucket or
upload anywhere that was not there before. The store is looked at past the server."""

from __future__ import annotations

import http.client
import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from score.server.build import open_service
from score.server.settings import Settings
from score.storage.s3.settings import S3Settings
from score.testing.minio import Minio, running_minio
from score.testing.s3_contract import boto, take_role
from score.testing.server import RunningServer
from score.testing.song import FakeSong

pytestmark = pytest.mark.needs("minio")

MD5 = "900150983cd24fb0d6963f7d28e17f72"
"""Of the bytes ``abc``."""
Store = tuple[dict[str, dict[str, str]], list[tuple[str, str]]]


@dataclass
class Site:
    """A server on two buckets of MinIO, which may hold others too."""

    url: str
    minio: Minio
    song: FakeSong
    s3: Any

    def call(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """The answer to a request whose target goes over the wire as it is, dots, escapes and all."""
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)) as connection:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read()

    def refused(self, target: str, method: str = "GET") -> str:
        """The message of a refusal, which is a 4xx with the JSON body."""
        status, body = self.call(target, method)
        assert 400 <= status < 500, (method, target[:300], status, body[:500])
        document = json.loads(body)
        assert document["status"] == status
        assert document.keys() >= {"timestamp", "error", "path"}
        assert len(document["message"]) > 5
        assert len(body) < 20_000
        return str(document["message"])

    def stored(self) -> Store:
        """All buckets with their keys and ETags, and the uploads in progress."""
        buckets = [bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]]
        kept = {}
        for bucket in buckets:
            pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            kept[bucket] = {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}
        uploads = [
            (upload["Key"], upload["UploadId"])
            for bucket in buckets
            for upload in self.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        ]
        return kept, sorted(uploads)

    def begin(self, size: int = 3) -> tuple[str, str]:
        """A new upload of three bytes, of which nothing is sent: object id, upload id."""
        object_id = str(uuid.uuid4())
        self.song.register("file", analysis=f"analysis-{object_id}", object_id=object_id)
        status, body = self.call(f"/upload/{object_id}/uploads?fileSize={size}", "POST")
        assert status == 200
        return object_id, json.loads(body)["uploadId"]

    def send(self, object_id: str, upload: str) -> None:
        """The only part, sent and recorded."""
        place = {"Bucket": "objects", "Key": f"data/{object_id}", "UploadId": upload, "PartNumber": 1}
        self.s3.upload_part(**place, Body=b"abc")
        status, body = self.call(
            f"/upload/{object_id}/parts?partNumber=1&uploadId={quote(upload)}&md5={MD5}&etag={MD5}", "POST"
        )
        assert status == 200, body

    def put_state(self, key: str, document: bytes) -> None:
        self.s3.put_object(Bucket="state", Key=key, Body=document)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site on a MinIO of its own, so that nothing else writes to it."""
    with (
        running_minio() as minio,
        FakeSong() as song,
        closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3,
    ):
        for bucket in ("objects", "state", "of-others"):
            s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket="of-others", Key="data/kept", Body=b"kept")
        with running_server(minio, song) as url:
            yield Site(url, minio, song, s3)


@contextmanager
def running_server(minio: Minio, song: FakeSong, **more: str) -> Iterator[str]:
    """A server on the buckets ``objects`` and ``state``; ``more`` settings, with ``_`` for ``.``; its URL."""
    given = {
        "s3.endpoint": minio.endpoint,
        "s3.accessKey": minio.access_key,
        "s3.secretKey": minio.secret_key,
        "bucket.name.object": "objects",
        "bucket.name.state": "state",
        "metadata.url": song.url,
        **{name.replace("_", "."): value for name, value in more.items()},
    }
    chosen = Settings.model_validate({**given, "profiles": ("s3",)})
    with RunningServer(lambda: open_service(chosen)) as server:
        yield server.url


REAL = "5c0e0000-0000-4000-8000-000000000001"
IDS = [
    "..", ".", "...", "../x", "../../of-others/data/kept", "..%2f..%2fof-others%2fdata%2fkept", "%2e%2e",
    "%2e%2e%2f", "%2f", "%2F%2Fof-others", "%00", f"{REAL}%00", f"{REAL}%00.meta", f"{REAL}/..",
    f"{REAL}%2f..%2fkept", f"{REAL}_u", f"{REAL}.meta", f"{REAL}%20", f"%20{REAL}", REAL.replace("-", ""),
    f"{{{REAL}}}", f"urn:uuid:{REAL}", "x" * 5000, "%c3%28", "%ff", "%u0041", "%", "%zz", quote("😀"),
    quote("٣" * 36), f"{REAL}%3fx", f"{REAL}%0d%0aX:1", f"..;/{REAL}", f"%5c..%5c{REAL}", REAL * 2, "null", "*",
]  # fmt: skip
CALLS = [
    "GET /download/{id}?offset=0&length=-1", "GET /upload/{id}/status?fileSize=3",
    "POST /upload/{id}/uploads?fileSize=3&overwrite=true", "POST /upload/{id}/recovery?fileSize=3",
    "POST /upload/{id}/begin?fileSize=3",
    "POST /upload/{id}/parts?partNumber=1&uploadId=u&md5=" + MD5 + "&etag=" + MD5,
    "DELETE /upload/{id}/parts?partNumber=1&uploadId=u", "POST /upload/{id}?uploadId=u", "DELETE /upload/{id}",
    "DELETE /admin/objects/{id}", "PUT /upload/{id}", "GET /upload/{id}",
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_object_ids_that_are_none(site: Site, call: str) -> None:
    before = site.stored()
    method, _, target = call.partition(" ")
    for identity in IDS:
        site.refused(target.replace("{id}", identity), method)
    assert site.stored() == before


NUMBERS = [
    "0", "-1", "10001", "10002", str(2**31), str(2**63), str(-(2**63)), str(2**64), "9" * 400, "1e3", "0x1", "1.0",
    "NaN",     "Infinity", "", "%20", "one", "%d9%a3", "1_0", "1%00", "1,2", "null", "[]", "+1", "--1",
]  # fmt: skip


def test_part_numbers_that_are_none(site: Site) -> None:
    object_id, upload = site.begin()
    before = site.stored()
    for number in NUMBERS:
        if number == "+1":
            continue  # a space and 1, as a form writes it
        query = f"partNumber={number}&uploadId={quote(upload)}"
        said = site.refused(f"/upload/{object_id}/parts?{query}&md5={MD5}&etag={MD5}", "POST")
        assert "partNumber" in said
        assert "partNumber" in site.refused(f"/upload/{object_id}/parts?{query}", "DELETE")
    assert "1 to 1" in site.refused(
        f"/upload/{object_id}/parts?partNumber=2&uploadId={quote(upload)}&md5={MD5}&etag={MD5}", "POST"
    )
    assert site.stored() == before


def test_sizes_and_ranges_that_are_none(site: Site) -> None:
    object_id, _ = site.begin()
    site.song.register("other", analysis="other", object_id=REAL)
    site.s3.put_object(Bucket="objects", Key=f"data/{REAL}", Body=b"0123456789")
    site.song.set_state("other", "PUBLISHED")
    before = site.stored()
    for number in NUMBERS:
        if number in ("0", "10001", "10002", str(2**31), "+1"):
            continue  # sizes like others
        for target in (f"/upload/{object_id}/uploads?fileSize=", f"/upload/{object_id}/recovery?fileSize="):
            said = site.refused(f"{target}{number}", "POST")
            assert "fileSize" in said or "of 3 bytes, not" in said
        site.refused(f"/upload/{object_id}/status?fileSize={number}")
        for query in (f"offset={number}&length=1", f"offset=0&length={number}"):
            if number.startswith("-") and number.removeprefix("-").isdigit() and "length=1" not in query:
                continue  # any negative length means: to the end
            status, body = site.call(f"/download/{REAL}?{query}")
            assert status in (400, 500), body  # beyond the end is 500, clients stop on it
            assert json.loads(body)["message"]
            assert status == 400 or "beyond" in body.decode() or "bytes" in body.decode()
    assert "5497558138880" in site.refused(
        f"/upload/{object_id}/uploads?fileSize={5 * 2**40 + 1}&overwrite=true", "POST"
    )
    assert site.stored() == before


def test_digests_and_upload_ids_that_are_none(site: Site) -> None:
    object_id, upload = site.begin()
    site.send(object_id, upload)
    before = site.stored()
    for text in (
        "",
        "x",
        "0" * 31,
        "0" * 33,
        "..",
        "%2e%2e%2f",
        "%00",
        "%22" + MD5 + "%22",
        "z" * 32,
        "0" * 5000,
        "%7c%7b",
    ):
        for query in (f"md5={text}&etag={MD5}", f"md5={MD5}&etag={text}"):
            site.refused(f"/upload/{object_id}/parts?partNumber=1&uploadId={quote(upload)}&{query}", "POST")
        if text:
            site.refused(f"/upload/{object_id}/uploads?fileSize=3&overwrite=true&md5={text}", "POST")
        site.refused(f"/upload/{object_id}/parts?partNumber=1&uploadId={text}&md5={MD5}&etag={MD5}", "POST")
        site.refused(f"/upload/{object_id}/parts?partNumber=1&uploadId={text}", "DELETE")
        site.refused(f"/upload/{object_id}?uploadId={text}", "POST")
    for text in (f"{quote(upload)}%2f..", f"..%2f{quote(upload)}", f"{quote(upload)}%2f.meta", quote(upload) + "x"):
        site.refused(f"/upload/{object_id}?uploadId={text}", "POST")
    assert site.stored() == before


def test_query_strings_of_a_megabyte(site: Site) -> None:
    object_id, upload = site.begin()
    before = site.stored()
    for start in (
        "GET /profile?", f"GET /upload/{object_id}/status?fileSize=3&x=", f"POST /upload/{object_id}?uploadId=",
        f"POST /upload/{object_id}/parts?partNumber=1&uploadId={quote(upload)}&etag={MD5}&md5=",
    ):  # fmt: skip
        method, _, target = start.partition(" ")
        for size in (70_000, 1_000_000):
            assert "longer" in refused_in_the_middle(
                site, f"{method} {target}{'x' * size} HTTP/1.1\r\nHost: x\r\n\r\n"
            )
    assert site.stored() == before
    assert site.call("/profile")[1] == b"s3"


def refused_in_the_middle(site: Site, request: str) -> str:
    """The message of a refusal that comes while the request is still being sent."""
    address = urlsplit(site.url)
    with closing(socket.create_connection((address.hostname, address.port), timeout=30)) as connection:
        received = b""
        with suppress(ConnectionError):  # it has heard enough; what it said is there to be read
            connection.sendall(request.encode())
        with suppress(ConnectionError):
            while piece := connection.recv(65_536):
                received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4"), received[:200]
    return str(json.loads(body)["message"])


# State in the bucket


def documents(object_id: str, upload: str) -> dict[str, bytes]:
    """State documents that are broken, each in its own way."""
    part: dict[str, object] = {"partNumber": 1, "partSize": 3, "offset": 0, "url": None, "md5": None}
    whole = {
        "objectKey": f"data/{object_id}", "objectId": object_id, "uploadId": upload,
        "parts": [part], "objectSize": 3, "objectMd5": None,
    }  # fmt: skip

    def changed(**other: object) -> bytes:
        return json.dumps({**whole, **other}).encode()

    def with_part(**other: object) -> bytes:
        return changed(parts=[{**part, **other}])

    return {
        "nothing": b"",
        "white space": b" \n",
        "XML": b"<Specification/>",
        "cut off": json.dumps(whole).encode()[:-20],
        "cut off within a character": json.dumps({**whole, "objectKey": "é"}, ensure_ascii=False).encode()[:16],
        "not UTF-8": b"\xff\xfe{}",
        "packed": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        "zeros": bytes(1000),
        "null": b"null",
        "a list": b"[]",
        "a text": b'"x"',
        "deep": b"[" * 200_000,
        "deep in a field": json.dumps(whole).encode()[:-1] + b',"x":' + b"[" * 200_000,
        "of another object": changed(objectId=str(uuid.uuid4())),
        "of another upload": changed(uploadId="another"),
        "of another size": changed(objectSize=4),
        "negative": changed(objectSize=-3),
        "beyond all numbers": changed(objectSize=10**400),
        "no number": changed(objectSize="three"),
        "half a byte": changed(objectSize=2.5),
        "size a list": changed(objectSize=[3]),
        "id a number": changed(objectId=7),
        "id null": changed(objectId=None),
        "upload an object": changed(uploadId={}),
        "without size": json.dumps({key: value for key, value in whole.items() if key != "objectSize"}).encode(),
        "parts an object": changed(parts={}),
        "parts a text": changed(parts="1"),
        "parts of numbers": changed(parts=[1]),
        "parts null": changed(parts=None),
        "no parts": changed(parts=[]),
        "part 0": with_part(partNumber=0),
        "part 2": with_part(partNumber=2),
        "part 2^63": with_part(partNumber=2**63),
        "part a text": with_part(partNumber="one"),
        "part infinite": json.dumps(whole).encode().replace(b'"partSize": 3', b'"partSize": 1e999'),
        "part NaN": json.dumps(whole).encode().replace(b'"partSize": 3', b'"partSize": NaN'),
        "parts that overlap": changed(parts=[part, part]),
        "url a number": with_part(url=7),
        "md5 a list": with_part(md5=[]),
    }


KINDS = sorted(documents("", ""))


@pytest.mark.parametrize("kind", KINDS)
def test_state_of_an_upload_that_is_broken(site: Site, kind: str) -> None:
    """Every call on it is refused, naming the document; it can be thrown away, and the upload begun again."""
    object_id, upload = site.begin()
    key = f"upload/{object_id}_{upload}/.meta"
    site.put_state(key, documents(object_id, upload)[kind])
    before = site.stored()
    # A server that has not seen the upload begin: this one remembers its parts.
    site.s3.upload_part(Bucket="objects", Key=f"data/{object_id}", UploadId=upload, PartNumber=1, Body=b"abc")
    for call in (
        f"GET /upload/{object_id}/status?fileSize=3", f"POST /upload/{object_id}/recovery?fileSize=3",
        f"POST /upload/{object_id}?uploadId={quote(upload)}",
    ):  # fmt: skip
        method, _, target = call.partition(" ")
        said = site.refused(target, method)
        assert ".meta" in said or "bytes, not 3" in said
    assert site.stored() == before
    status, body = site.call(f"/upload/{object_id}/uploads?fileSize=3", "POST")
    assert status == 200, body
    again = json.loads(body)["uploadId"]
    site.send(object_id, again)
    assert site.call(f"/upload/{object_id}?uploadId={quote(again)}", "POST")[0] == 200
    kept, uploads = site.stored()
    assert [name for name in kept["state"] if object_id in name] == [f"data/{object_id}.meta"]
    assert not [key for key, _ in uploads if object_id in key]


@pytest.mark.parametrize("kind", KINDS)
def test_the_final_state_of_an_object_that_is_broken(site: Site, kind: str) -> None:
    object_id, upload = site.begin()
    site.send(object_id, upload)
    assert site.call(f"/upload/{object_id}?uploadId={quote(upload)}", "POST")[0] == 200
    site.song.set_state(f"analysis-{object_id}", "PUBLISHED")
    site.put_state(f"data/{object_id}.meta", documents(object_id, upload)[kind])
    before = site.stored()
    status, body = site.call(f"/download/{object_id}?offset=0&length=-1")
    if kind == "of another upload":  # which one it came from does not matter to who reads it
        assert status == 200, body
    else:
        assert ".meta" in site.refused(f"/download/{object_id}?offset=0&length=-1")
    assert site.stored() == before


RECORDS = [
    "part-", "part-00000001", "part-00000001|", "part-00000001|{}", "part-00000001|null", "part-0000000g|{}",
    f'part-00000001|{{"partNumber":2,"md5":"{MD5}","etag":"{MD5}"}}',
    f'part-00000001|{{"partNumber":1,"md5":"x","etag":"{MD5}"}}',
    f'part-00000001|{{"partNumber":1,"md5":"{MD5}","etag":""}}',
    f'part-00000001|{{"partNumber":1,"md5":"{MD5}","etag":"{MD5}"',
    f'part--0000001|{{"partNumber":-1,"md5":"{MD5}","etag":"{MD5}"}}',
    f'part-00000001|{{"partNumber":[1],"md5":"{MD5}","etag":"{MD5}"}}',
]  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_broken(site: Site, name: str) -> None:
    object_id, upload = site.begin()
    site.put_state(f"upload/{object_id}_{upload}/{name}", b"")
    site.refused(f"/upload/{object_id}?uploadId={quote(upload)}", "POST")
    status, body = site.call(f"/upload/{object_id}/status?fileSize=3")
    assert status == 400, body
    assert "record" in json.loads(body)["message"]
    assert site.call(f"/upload/{object_id}", "DELETE")[0] == 200
    assert not [key for key in site.stored()[0]["state"] if object_id in key]


# Buckets


@pytest.mark.parametrize("missing", ["bucket_name_object", "bucket_name_state"])
def test_a_bucket_that_does_not_exist(site: Site, missing: str) -> None:
    """Not "no such object", which would tell of a loss: 500, and the message names the bucket and what to do."""
    object_id, _ = site.begin()
    before = site.stored()
    with running_server(site.minio, site.song, **{missing: "nowhere"}) as url:
        other = replace(site, url=url)
        for call in (f"POST /upload/{object_id}/uploads?fileSize=3", f"GET /upload/{object_id}/status?fileSize=3"):
            method, _, target = call.partition(" ")
            if method == "POST" or missing == "bucket_name_state":
                status, body = other.call(target, method)
                assert status == 500
                said = json.loads(body)["message"]
                assert "nowhere" in said
                assert "Create the bucket" in said
    after = site.stored()[0]
    assert all(after[bucket].keys() <= before[0][bucket].keys() for bucket in after), "nothing is written anywhere"


def test_a_bucket_of_somebody_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's refusal is told, with its code, and never taken for "nothing there": 500, so that clients stop.

    The account may use one of the two buckets only: keys of a role with a policy of its own.
    """
    arn = "arn:aws:s3:::objects"
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    take_role(site.minio, json.dumps({"Version": "2012-10-17", "Statement": [allowed]}), monkeypatch)
    object_id = str(uuid.uuid4())
    site.song.register("file", analysis="mine", object_id=object_id)
    before = site.stored()
    keyless = {"s3_accessKey": "", "s3_secretKey": "", "bucket_name_state": "of-others"}
    with running_server(site.minio, site.song, **keyless) as url:
        other = replace(site, url=url)
        for call in (f"GET /upload/{object_id}", f"POST /upload/{object_id}/uploads?fileSize=3"):
            method, _, target = call.partition(" ")
            status, body = other.call(target, method)
            assert status == 500
            said = json.loads(body)["message"]
            assert "403" in said
            assert "of-others" in said
        status, body = other.call("/health")
        assert status == 503
        assert "AccessDenied" in body.decode()
    assert site.stored() == before
