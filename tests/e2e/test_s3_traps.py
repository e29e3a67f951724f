"""What S3 stores do to a site on bad days, seen from the client's command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from score.protocol.parts import MIB
from score.testing.ceph import Ceph, running_ceph
from score.testing.faults import Answer
from score.testing.site import Registered, Site, md5_of, s3_site

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

    No part fits: of several at once the gateway lets in more than there is room for.
    """
    with ceph.quota(4 * MIB):
        told = site.run("upload", "--manifest", files.manifest, status=range(1, 256)).stderr
    assert "QuotaExceeded" in told
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
        client.wait_until(lambda: "again" in client.stderr)
        ceph.restart_gateway()
        client.conclude()
    finished = [call.part for call in site.sent(files.id) if call.status == 200]
    assert sorted(finished) == [1, 2, 3]
    site.publish(files)
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
    assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(files.paths[0])
