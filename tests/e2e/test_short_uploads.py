"""Files of one part take three calls of a server that knows how, and lose nothing by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from score.testing.faults import Answer, Fault, LoseResponse, Reset
from score.testing.site import Registered, Site, md5_of

Maker = Callable[[str, int], Path]


@pytest.fixture
def files(site: Site, make_file: Maker) -> Registered:
    """A registered file of one part."""
    return site.register([make_file("reads.bam", 100_000)])


@pytest.fixture
def larger(site: Site, make_file: Maker) -> Registered:
    """A registered file of two parts."""
    return site.register([make_file("larger.bam", 5_300_000)])


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


def test_an_upload_begun_elsewhere_is_left_alone(site: Site, larger: Registered, make_file: Maker) -> None:
    """Also one of which nothing was sent yet."""
    elsewhere = make_file("elsewhere/larger.bam", 1)
    elsewhere.write_bytes(larger.paths[0].read_bytes())
    one = ["upload", "--object-id", larger.id, "--md5", md5_of(larger.paths[0]), "--file"]
    site.store.inject(Reset(), method="PUT", path=site.path_of(larger.id), times=None)
    site.run(*one, elsewhere, status=5)
    site.heal()
    result = site.run(*one, larger.paths[0], status=3)
    assert "begun elsewhere" in result.stderr
    assert calls(site, larger)[-2:] != ["POST /begin", "POST /parts"]
    site.run(*one, elsewhere)
    assert site.has_object(larger.id)


def test_a_part_that_was_recorded_is_not_sent_again(site: Site, larger: Registered) -> None:
    """Of an upload that was begun in one call."""
    site.store.inject(Reset(), method="PUT", path=site.path_of(larger.id), part=2, times=None)
    site.run("upload", "--manifest", larger.manifest, status=5)
    assert calls(site, larger)[0] == "POST /begin"
    site.heal()
    site.run("upload", "--manifest", larger.manifest)
    assert {put.part for put in site.sent(larger.id)} == {2}
    assert site.has_object(larger.id)


def test_a_small_file_is_taken_from_who_sends_it_first(site: Site, files: Registered, make_file: Maker) -> None:
    """Nothing is kept of its upload before its end, which could be in the way of others."""
    elsewhere = make_file("elsewhere/reads.bam", 1)
    elsewhere.write_bytes(files.paths[0].read_bytes())
    one = ["upload", "--object-id", files.id, "--md5", md5_of(files.paths[0]), "--file"]
    gate = site.score.hold(method="POST", path="/parts$", times=1)
    with site.start(*one, elsewhere) as first:
        gate.wait_for_arrival()
        site.run(*one, files.paths[0])
        gate.open()
        assert first.wait() == 0
    assert site.has_object(files.id)
    site.run(*one, elsewhere)
    site.publish(files)


def test_a_server_that_was_restarted_ends_what_it_does_not_remember(site: Site, files: Registered) -> None:
    gate = site.score.hold(method="POST", path="/parts$")
    with site.start("upload", "--manifest", files.manifest) as client:
        gate.wait_for_arrival()
        site.server.stop()
        site.server.start()
        gate.open()
        assert client.wait() == 0
    assert len(site.sent(files.id)) == 1
    assert calls(site, files)[0] == "POST /begin"
    site.publish(files)


@pytest.mark.parametrize("lost", ["its URL", "the upload", "its completion"])
def test_what_only_state_could_help_with_goes_the_long_way(site: Site, files: Registered, lost: str) -> None:
    """A URL cannot be renewed without it; nor does a server know of the upload that has another way to keep it. That
    of the reference records the part, and says of a completion without state that it is done."""
    if lost == "its URL":
        site.store.inject(Answer.expired(), method="PUT", path=site.path_of(files.id))
    elif lost == "the upload":
        site.score.inject(Answer(404, b"{}"), method="POST", path="/parts$")
    else:
        site.score.inject(Answer(200, b""), method="POST", path="/parts$")
        site.score.inject(Answer(200, b""), method="POST", path=f"/upload/{files.id}$")
    result = site.run("upload", "--manifest", files.manifest)
    assert "starting over" in result.stderr
    assert calls(site, files)[-2:] == ["POST /uploads", "POST /parts"]
    assert len(site.sent(files.id)) == 2
    site.publish(files)


def test_what_no_server_ends_is_uploaded_by_the_next_run(site: Site, files: Registered) -> None:
    """By calls that servers of the reference know too."""
    site.score.inject(Answer(503, b"{}"), method="POST", path="/parts$", times=None)
    site.run("upload", "--manifest", files.manifest, status=5)
    site.heal()
    site.run("upload", "--manifest", files.manifest)
    assert "POST /begin" not in calls(site, files)
    assert calls(site, files)[-2:] == ["POST /uploads", "POST /parts"]
    site.publish(files)


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
