"""What S3 stores do to a site on bad days, seen from the client's command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3

from score.metadata.song import Song
from score.protocol.parts import MIB
from score.server.build import Service, assemble
from score.server.settings import Settings
from score.storage.s3.client import S3Client
from score.storage.s3.settings import S3Settings
from score.storage.s3.store import S3Store
from score.testing.ceph import Ceph, running_ceph
from score.testing.faults import Answer
from score.testing.proxy import FaultProxy
from score.testing.server import RunningServer
from score.testing.site import Registered, S3Service, Site, md5_of, s3_site
from score.testing.song import FakeSong

pytestmark = pytest.mark.needs("ceph")

SIZE = 11 * MIB
Maker = Callable[[str, int], Path]


@pytest.fixture(scope="module")
def ceph() -> Iterator[Ceph]:
    """A Ceph of this module's own, since it is killed."""
    with running_ceph() as ceph:
        yield ceph


@pytest.fixture
def site(ceph: Ceph, tmp_path: Path) -> Iterator[Site]:
    with s3_site(tmp_path, ceph) as site:
        yield site


@pytest.fixture
def files(site: Site, make_file: Maker) -> Registered:
    """A registered file of three parts."""
    return site.register([make_file("reads.bam", SIZE)])


def test_a_quota_that_is_full(site: Site, ceph: Ceph, files: Registered, tmp_path: Path) -> None:
    """The client ends, says why, and goes on with the same upload once there is room.

    No part fits: of several at once the gateway lets in more than there is room for. It refuses while a part is still
    being sent, and its words may be lost with the connection; the refusal is told all the same.
    """
    with ceph.quota(4 * MIB):
        told = site.run("upload", "--manifest", files.manifest, status=range(1, 256)).stderr
    assert "QuotaExceeded" in told or "closed the connection while data were sent" in told
    assert "quota" in told
    assert "may not" not in told, "it has nothing to do with the network"
    assert not site.has_object(files.id)
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
    assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(files.paths[0])


def test_a_refusal_is_not_taken_for_nothing_there(site: Site, files: Registered) -> None:
    """403 to a question about ``.meta`` stops the caller (500): neither "no such object" nor "try again"."""
    assert site.behind
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    for path in (rf"{files.id}\.meta$", f"{files.id}$"):
        site.behind.inject(Answer.denied(), path=path, times=None)
        with urllib3.PoolManager(retries=False) as http:
            answer = http.request("GET", f"{site.server.url}/download/{files.id}?offset=0&length=-1")
            assert answer.status == 500
            assert "403" in answer.json()["message"]
            if "meta" in path:
                assert http.request("GET", f"{site.server.url}/upload/{files.id}").status == 500
        site.behind.heal()


def test_a_gateway_that_crashes_amid_an_upload(site: Site, ceph: Ceph, files: Registered, tmp_path: Path) -> None:
    """The client waits until it is back, and sends nothing again that was finished."""
    gate = site.store.hold(method="PUT", part=2)
    with site.start(
        "upload", "--manifest", files.manifest, transport_parallel="1", storage_retryNumber="50"
    ) as client:
        gate.wait_for_arrival()
        ceph.kill_gateway()
        gate.open()
        client.wait_until(lambda: "retry" in client.stderr)
        ceph.restart_gateway()
        client.conclude()
    finished = [call.part for call in site.sent(files.id) if call.status == 200]
    assert sorted(finished) == [1, 2, 3]
    site.publish(files)
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
    assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(files.paths[0])


def test_a_final_meta_that_could_not_be_written(site: Site, files: Registered) -> None:
    """The parts were joined, then the state bucket refused: no success, and the next call mends it."""
    assert site.behind
    data = files.paths[0].read_bytes()
    url = f"{site.server.url}/upload/{files.id}"
    with urllib3.PoolManager(retries=False) as http:
        spec = http.request("POST", f"{url}/uploads?fileSize={SIZE}&md5={md5_of(files.paths[0])}").json()
        for part in spec["parts"]:
            piece = data[part["offset"] : part["offset"] + part["partSize"]]
            etag = http.request("PUT", part["url"], body=piece).headers["ETag"].strip('"')
            told = {"partNumber": part["partNumber"], "uploadId": spec["uploadId"], "md5": etag, "etag": etag}
            assert http.request("POST", f"{url}/parts?{urlencode(told)}").status == 200
        complete = f"{url}?{urlencode({'uploadId': spec['uploadId']})}"
        for fault, status in ((Answer.denied(), 500), (Answer.unavailable(), 503)):
            site.behind.inject(fault, method="PUT", path=rf"data/{files.id}\.meta$", times=None)
            answer = http.request("POST", complete)
            assert answer.status == status
            assert answer.json()["message"]
            assert http.request("GET", url).data == b"false"
            site.behind.heal()
        assert http.request("POST", complete).status == 200
        assert http.request("GET", url).data == b"true"
        site.publish(files)
        final = http.request("GET", f"{site.server.url}/download/{files.id}?offset=0&length=-1").json()
        assert all(part["sourceMd5"] for part in final["parts"])


@pytest.mark.parametrize("minutes", [-20, 20])
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("minio", "ceph")])
def test_a_server_whose_clock_is_wrong(request: pytest.FixtureRequest, name: str, minutes: int) -> None:
    """The store refuses every signature: said at once, with what to do, as a failure on which clients stop."""
    service: S3Service = request.getfixturevalue(name)
    wrong = timedelta(minutes=minutes)
    with FaultProxy(service.endpoint) as behind, FakeSong() as song:
        s3 = S3Settings(behind.url, service.access_key, service.secret_key)
        identity = "5c0e0000-0000-4000-8000-000000000001"
        song.register("file", analysis="analysis", object_id=identity)

        async def opening() -> Service:
            client = S3Client(s3, clock=lambda: datetime.now(UTC) + wrong)
            objects, state = S3Store(client, "objects"), S3Store(client, "state")
            registry = Song(song.url)
            chosen = Settings.model_validate({"profiles": ("s3",)})
            return Service(assemble(chosen, objects, state, registry, None), objects, state, registry, None)

        with RunningServer(opening) as server, urllib3.PoolManager(retries=False) as http:
            for call in (
                f"GET /upload/{identity}", f"POST /upload/{identity}/uploads?fileSize=3",
                f"GET /upload/{identity}/status?fileSize=3", f"POST /upload/{identity}?uploadId=u", "GET /listing",
            ):  # fmt: skip
                method, _, target = call.partition(" ")
                behind.traffic.forget()
                answer = http.request(method, server.url + target)
                assert answer.status == 500, answer.data
                assert "clock" in answer.json()["message"]
                seen = [(one.method, one.path, one.query) for one in behind.traffic.seen()]
                assert len(seen) == len(set(seen)), "nothing is tried again"
            health = http.request("GET", f"{server.url}/health")
            assert health.status == 503
            assert "clock" in health.data.decode()


def test_a_gateway_that_is_busy(tmp_path: Path, make_file: Maker) -> None:
    """It takes two requests at once and tells the rest to slow down: server and client wait and come again."""
    with (
        running_ceph({"rgw scheduler type": "throttler", "rgw max concurrent requests": "2"}) as busy,
        s3_site(tmp_path, busy, upload_retry_limit="50") as site,
    ):
        files = site.register([make_file("reads.bam", 6 * 5 * MIB)])
        site.run("upload", "--manifest", files.manifest, transport_parallel="6", storage_retryNumber="50")
        assert site.behind
        slowed = [call for traffic in (site.store, site.behind) for call in traffic.seen(status=503)]
        assert slowed
        site.publish(files)
        given = {"transport_parallel": "6", "storage_retryNumber": "50"}
        site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out", **given)
        assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(files.paths[0])


def test_storage_that_hangs_amid_an_upload(site: Site, ceph: Ceph, files: Registered, tmp_path: Path) -> None:
    """Nobody gives up too soon, the server answers others meanwhile, and afterwards all goes on."""
    gate = site.store.hold(method="PUT", part=2)
    with site.start("upload", "--manifest", files.manifest, transport_parallel="1") as client:
        gate.wait_for_arrival()
        with ceph.storage_hangs():
            gate.open()
            with urllib3.PoolManager(retries=False, timeout=10) as http:
                for _ in range(20):
                    assert http.request("GET", f"{site.server.url}/profile").data == b"s3"
            assert 2 not in site.finished(files.id)
        client.conclude()
    site.publish(files)
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
    assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(files.paths[0])
