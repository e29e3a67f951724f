"""Completions that take long, over HTTP: what callers are told meanwhile, and that lists of parts have many pages."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import urllib3

from score.broker.state import Layout
from score.broker.uploads import UploadRules, Uploads
from score.broker.work import Work
from score.metadata.song import Song
from score.protocol.wire import FinishedPart
from score.server.build import Service, assemble
from score.server.settings import Settings
from score.storage.base import UploadId
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import open_stores
from score.testing.ceph import running_ceph
from score.testing.load import lay_upload
from score.testing.minio import Minio
from score.testing.proxy import FaultProxy
from score.testing.s3_contract import boto
from score.testing.server import RunningServer
from score.testing.song import FakeSong

ANALYSIS = "5c0e0000-0000-4000-8000-00000000c001"
LONG = 300.0
"""Seconds for a test's own calls."""


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, timeout=LONG) as http:
        yield http


def opening(
    store: S3Settings, names: list[str], song: FakeSong, work: Work | None
) -> Callable[[], Awaitable[Service]]:
    """Opens a server on these two buckets; ``work`` is how it completes uploads, None: as every server does."""

    async def go() -> Service:
        stores = open_stores(store, names)
        objects, state = (stores[name] for name in names)
        registry = Song(song.url)
        broker = assemble(Settings(profiles=("s3",)), objects, state, registry, None)
        if work is not None:
            given = objects, state, broker.access, Layout(), UploadRules()
            broker = replace(broker, uploads=Uploads(*given, completions=work))
        return Service(broker, objects, state, registry, None)

    return go


@contextmanager
def running(store: S3Settings, names: list[str], song: FakeSong, work: Work | None = None) -> Iterator[str]:
    """The address of such a server."""
    with RunningServer(opening(store, names, song, work)) as server:
        yield server.url


@pytest.fixture
def names(minio: Minio) -> list[str]:
    """Two buckets on MinIO."""
    names = [f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("object", "state")]
    with closing(boto(S3Settings(minio.endpoint, minio.access_key, minio.secret_key))) as s3:
        for name in names:
            s3.create_bucket(Bucket=name)
    return names


def begin(http: urllib3.PoolManager, url: str, song: FakeSong) -> tuple[str, str]:
    """An upload whose only part is finished: the object, and the address of its completion."""
    data = b"abc"
    md5 = hashlib.md5(data).hexdigest()
    identity = song.register("reads.bam", analysis=ANALYSIS, size=len(data), md5=md5).object_id
    spec: dict[str, Any] = http.request("POST", f"{url}/upload/{identity}/uploads?fileSize=3&md5={md5}").json()
    assert http.request("PUT", spec["parts"][0]["url"], body=data).status == 200
    upload = spec["uploadId"]
    finished = f"{url}/upload/{identity}/parts?partNumber=1&uploadId={upload}&md5={md5}&etag={md5}"
    assert http.request("POST", finished).status == 200
    return identity, f"/upload/{identity}?uploadId={upload}"


@pytest.mark.needs("minio")
def test_a_completion_under_way_is_asked_for_until_it_is_done(
    minio: Minio, names: list[str], http: urllib3.PoolManager
) -> None:
    """A client of the reference takes 503 for "again". There is no success before the object is there, and the store
    is asked to join the parts once."""
    with FakeSong() as song, FaultProxy(minio.endpoint) as proxy:
        store = S3Settings(proxy.url, minio.access_key, minio.secret_key)
        with running(store, names, song, Work(hold=0)) as url:
            identity, completion = begin(http, url, song)
            gate = proxy.traffic.hold(method="POST", query="uploadId=")
            for asked in range(3):
                answer = http.request("POST", url + completion)
                assert answer.status == 503
                assert 1 <= int(answer.headers["Retry-After"]) <= 60
                assert "still under way" in answer.json()["message"]
                if not asked:
                    gate.wait_for_arrival()
            assert http.request("GET", f"{url}/upload/{identity}").json() is False
            gate.open()
            while (answer := http.request("POST", url + completion)).status == 503:
                assert int(answer.headers["Retry-After"]) >= 1
            assert answer.status == 200
            assert http.request("GET", f"{url}/upload/{identity}").json() is True
            assert len(proxy.traffic.seen(method="POST", query="uploadId=", status=200)) == 1


@pytest.mark.needs("minio")
def test_a_completion_is_held_until_the_store_is_done(
    minio: Minio, names: list[str], http: urllib3.PoolManager
) -> None:
    """Nobody is sent away who can have the answer in time."""
    with FakeSong() as song, FaultProxy(minio.endpoint) as proxy, ThreadPoolExecutor(1) as pool:
        store = S3Settings(proxy.url, minio.access_key, minio.secret_key)
        with running(store, names, song) as url:
            _, completion = begin(http, url, song)
            gate = proxy.traffic.hold(method="POST", query="uploadId=")
            answer = pool.submit(http.request, "POST", url + completion)
            gate.wait_for_arrival()
            gate.open()
            assert answer.result(timeout=LONG).status == 200


@pytest.mark.needs("ceph")
def test_an_upload_whose_parts_fill_more_than_a_page_is_completed(http: urllib3.PoolManager) -> None:
    """Stores list 1,000 parts and keys at a time. The gateway takes small parts here, so that many cost little; the
    server that completes has nothing in memory and goes by the lists."""
    parts = 1003
    with FakeSong() as song, running_ceph({"rgw multipart min part size": "1"}) as ceph:
        store = S3Settings(ceph.endpoint, ceph.access_key, ceph.secret_key)
        names = ["objects", "state"]
        identity = song.register("reads.bam", analysis=ANALYSIS, size=8 * parts).object_id
        with closing(boto(store)) as s3:
            for name in names:
                s3.create_bucket(Bucket=name)
            laid = lay_upload(s3, *names, identity, parts)
            records = [
                Layout().record(
                    identity, UploadId(laid.upload), FinishedPart(part_number=number, md5=etag, etag=etag)
                )
                for number, etag in enumerate(laid.etags, 1)
            ]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda key: s3.put_object(Bucket="state", Key=key, Body=b""), records))
            with running(store, names, song) as url:
                answer = http.request("POST", f"{url}/upload/{identity}?uploadId={laid.upload}")
                assert answer.status == 200, answer.data
                assert http.request("GET", f"{url}/upload/{identity}").json() is True
            made = s3.get_object(Bucket="objects", Key=f"data/{identity}")
            assert made["ETag"].strip('"').endswith(f"-{parts}")
            with closing(made["Body"]) as body:
                assert body.read() == b"".join(number.to_bytes(8, "big") for number in range(1, parts + 1))
            left = [item["Key"] for item in s3.list_objects_v2(Bucket="state")["Contents"]]
            assert left == [f"data/{identity}.meta"]
