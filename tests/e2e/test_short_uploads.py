"""Files of one part take three calls of a server that knows how, and lose nothing by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3

from score.testing.faults import Fault, LoseResponse, Reset
from score.testing.site import Registered, Site, md5_of

Maker = Callable[[str, int], Path]


@pytest.fixture
def files(site: Site, make_file: Maker) -> Registered:
    """A registered file of one part."""
    return site.register([make_file("reads.bam", 100_000)])


def calls(site: Site, files: Registered) -> list[str]:
    """What the server was asked about the file."""
    seen = site.score.seen(path=f"^/upload/{files.id}")
    return [f"{call.method} {call.path.removeprefix(f'/upload/{files.id}')}".strip() for call in seen]


def test_a_file_of_one_part_takes_two_calls_of_the_server(site: Site, files: Registered) -> None:
    site.run("upload", "--manifest", files.manifest)
    assert calls(site, files) == ["POST /begin", "POST /parts"]
    assert len(site.sent(files.id)) == 1
    assert site.has_object(files.id)
    site.publish(files)


@pytest.mark.parametrize("fault", [LoseResponse(), Reset()])
@pytest.mark.parametrize("path", ["/begin$", "/parts$"])
def test_a_lost_answer_is_no_harm(site: Site, files: Registered, path: str, fault: Fault) -> None:
    site.score.inject(fault, method="POST", path=path)
    site.run("upload", "--manifest", files.manifest)
    assert len(site.sent(files.id)) == 1
    assert site.has_object(files.id)
    site.publish(files)


def test_an_upload_begun_elsewhere_is_left_alone(site: Site, files: Registered, make_file: Maker) -> None:
    """Also one of which nothing was sent yet."""
    elsewhere = make_file("elsewhere/reads.bam", 100_000)
    elsewhere.write_bytes(files.paths[0].read_bytes())
    one = ["upload", "--object-id", files.id, "--md5", md5_of(files.paths[0]), "--file"]
    site.store.inject(Reset(), method="PUT", path=site.path_of(files.id), times=None)
    site.run(*one, elsewhere, status=5)
    site.heal()
    result = site.run(*one, files.paths[0], status=3)
    assert "begun elsewhere" in result.stderr
    assert calls(site, files)[-2:] != ["POST /begin", "POST /parts"]
    site.run(*one, elsewhere)
    assert site.has_object(files.id)


def test_a_part_that_was_recorded_is_not_sent_again(site: Site, files: Registered) -> None:
    """As after a completion that failed, or did not go yet."""
    site.store.inject(Reset(), method="PUT", path=site.path_of(files.id), times=None)
    site.run("upload", "--manifest", files.manifest, status=5)
    site.heal()
    data = files.paths[0].read_bytes()
    upload = f"{site.url}/upload/{files.id}"
    progress = urllib3.request("GET", f"{upload}/status", fields={"fileSize": str(len(data))}).json()
    etag = urllib3.request("PUT", progress["parts"][0]["url"], body=data).headers["ETag"].strip('"')
    told = {"uploadId": progress["uploadId"], "partNumber": "1", "md5": etag, "etag": etag}
    assert urllib3.request("POST", f"{upload}/parts?{urlencode(told)}").status == 200
    site.store.forget()
    site.run("upload", "--manifest", files.manifest)
    assert site.sent(files.id) == []
    assert site.has_object(files.id)


def test_another_file_than_the_registered_one_never_completes(site: Site, files: Registered) -> None:
    data = bytearray(files.paths[0].read_bytes())
    data[5] ^= 1
    files.paths[0].write_bytes(data)
    result = site.run("upload", "--manifest", files.manifest, status=8)
    assert "nothing was completed" in result.stderr
    assert "complete=true" not in str(site.score.seen(path="/parts$"))
    assert not site.has_object(files.id)


def test_a_file_that_changed_when_it_was_sent_is_not_completed(site: Site, files: Registered) -> None:
    """Though what was sent of it is what was registered: whose bytes these were nobody knows any more."""
    gate = site.store.hold(method="PUT", path=site.path_of(files.id), after=50_000)
    with site.start("upload", "--manifest", files.manifest) as client:
        gate.wait_for_arrival()
        files.paths[0].write_bytes(files.paths[0].read_bytes())
        site.heal()
        assert client.wait() == 8
    assert "was changed" in client.stderr
    assert not site.has_object(files.id)


def test_what_is_there_is_no_failure_of_the_server(site: Site, files: Registered) -> None:
    """Run again, nothing is sent, and no answer is one that an operator is woken for."""
    site.run("upload", "--manifest", files.manifest)
    site.score.forget()
    site.store.forget()
    site.run("upload", "--manifest", files.manifest)
    begun, *others = site.score.seen(path=f"^/upload/{files.id}")
    assert (begun.path, begun.status) == (f"/upload/{files.id}/begin", 400)
    assert {call.status for call in others} == {200}
    assert site.sent(files.id) == []
