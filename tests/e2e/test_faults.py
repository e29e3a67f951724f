"""Everything between client, server and store that goes wrong, and what comes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from score.protocol.parts import MIB
from score.testing.faults import Answer, CutRequest, CutResponse, Fault, Flip, LoseResponse, Reset
from score.testing.site import Registered, Site, md5_of

PART = 5 * MIB
SIZE = 3 * PART + 1000
PARTS = 4

FAILED, NOT_FOUND, LATER, INTEGRITY = 3, 4, 5, 8

Maker = Callable[[str, int], Path]


@pytest.fixture
def files(site: Site, make_file: Maker) -> Registered:
    """A registered file of four parts."""
    return site.register([make_file("reads.bam", SIZE)])


@pytest.fixture
def published(site: Site, files: Registered) -> Iterator[Registered]:
    """A file of four parts that is uploaded and published; the record begins afterwards."""
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    site.score.forget()
    site.store.forget()
    return files


MINIO = pytest.mark.needs("minio")
locally = pytest.mark.parametrize("site", ["local"], indirect=True)
on_minio = pytest.mark.parametrize("site", [pytest.param("minio", marks=MINIO)], indirect=True)


def name_of(fault: Fault) -> str:
    """What a fault is called in the name of a test."""
    if isinstance(fault, Answer):
        return f"{fault.status}-with-retry-after" if "Retry-After" in fault.headers else str(fault.status)
    return type(fault).__name__


def befall(local: list[Fault], minio: list[Fault]) -> pytest.MarkDecorator:
    """Sites and their faults. Answers are the proxy's, so that one store is enough for them."""
    cases = [pytest.param("local", fault, id=f"local-{name_of(fault)}") for fault in local]
    cases += [pytest.param("minio", fault, id=f"minio-{name_of(fault)}", marks=MINIO) for fault in minio]
    return pytest.mark.parametrize(("site", "fault"), cases, indirect=["site"])


PASSING: list[Fault] = [Answer.unavailable(), Answer.unavailable(0), Answer.failure(), Reset(), LoseResponse()]


@befall([*PASSING, Answer.request_timeout(), CutRequest(PART // 2)], [Reset(), LoseResponse(), CutRequest(PART // 2)])
def test_a_part_that_fails_for_a_while_is_sent_again(site: Site, files: Registered, fault: Fault) -> None:
    site.store.inject(fault, method="PUT", path=site.path_of(files.id), part=2, times=2)
    site.run("upload", "--manifest", files.manifest)
    times = Counter(call.part for call in site.sent(files.id))
    assert times[2] > 1
    assert {part for part, count in times.items() if count == 1} == {1, 3, 4}
    site.publish(files)


@befall([*PASSING, CutResponse(PART // 2)], [CutResponse(PART // 2)])
def test_a_part_that_fails_for_a_while_is_fetched_again(
    site: Site, published: Registered, fault: Fault, tmp_path: Path
) -> None:
    site.store.inject(fault, method="GET", path=site.path_of(published.id), skip=1, times=2)
    site.run("download", "--object-id", published.id, "--output-dir", tmp_path / "out")
    assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(published.paths[0])
    whole = [call.range for call in site.fetched(published.id) if call.end == "answered"]
    assert len(whole) == len(set(whole)) == PARTS
    if isinstance(fault, CutResponse):
        assert sum(call.received for call in site.fetched(published.id)) == published.paths[0].stat().st_size


@befall([Answer.unavailable(), Answer.denied(), Reset()], [Answer.denied()])
def test_a_part_that_fails_for_ever_is_no_success(
    site: Site, files: Registered, fault: Fault, tmp_path: Path
) -> None:
    status = FAILED if isinstance(fault, Answer) and fault.status == 403 else LATER
    upload = ["upload", "--manifest", files.manifest]
    site.store.inject(fault, method="PUT", path=site.path_of(files.id), part=2, times=None)
    result = site.run(*upload, status=status)
    assert "reads.bam" in result.stderr
    assert not site.has_object(files.id)
    before = site.finished(files.id)

    site.heal()
    site.run(*upload)
    assert {call.part for call in site.sent(files.id)} == set(range(1, PARTS + 1)) - before
    site.publish(files)

    out = tmp_path / "out"
    download = ["download", "--object-id", files.id, "--output-dir", out]
    site.store.inject(fault, method="GET", path=site.path_of(files.id), range=f"bytes={PART}-", times=None)
    result = site.run(*download, status=status)
    assert "reads.bam" in result.stderr
    assert not (out / "reads.bam").exists()
    whole = {call.range for call in site.fetched(files.id) if call.end == "answered"}

    site.heal()
    site.run(*download)
    again = {call.range for call in site.fetched(files.id)}
    assert len(again) + len(whole) == PARTS
    assert not again & whole
    assert md5_of(out / "reads.bam") == md5_of(files.paths[0])


def test_urls_that_expire_are_renewed_and_finished_parts_kept(site: Site, files: Registered, tmp_path: Path) -> None:
    site.store.inject(Answer.expired(), method="PUT", path=site.path_of(files.id), skip=1, times=2)
    site.run("upload", "--manifest", files.manifest)
    assert sorted(call.part for call in site.sent(files.id) if call.end == "answered") == [1, 2, 3, 4]
    assert site.score.seen(method="GET", path="/status$", status=200)
    site.publish(files)

    site.score.forget()
    site.store.inject(Answer.expired(), method="GET", path=site.path_of(files.id), skip=1, times=2)
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
    assert len([call for call in site.fetched(files.id) if call.end == "answered"]) == PARTS
    assert len(site.score.seen(method="GET", path=f"^/download/{files.id}$", status=200)) > 1
    assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(files.paths[0])


@locally
def test_urls_that_are_always_expired_are_no_success(site: Site, files: Registered) -> None:
    site.store.inject(Answer.expired(), method="PUT", path=site.path_of(files.id), part=2, times=None)
    site.run("upload", "--manifest", files.manifest, status=[LATER, FAILED])
    assert not site.has_object(files.id)
    site.heal()
    site.run("upload", "--manifest", files.manifest)
    assert site.has_object(files.id)


def test_a_flipped_byte_is_found_and_that_range_fetched_again(
    site: Site, published: Registered, tmp_path: Path
) -> None:
    bad = f"bytes={PART}-"
    site.store.inject(Flip(PART - 1), method="GET", path=site.path_of(published.id), range=bad)
    site.run("download", "--object-id", published.id, "--output-dir", tmp_path / "out")
    times = Counter(call.range for call in site.fetched(published.id))
    assert sorted(times.values()) == [1, 1, 1, 2]
    assert next(times[each] for each in times if each.startswith(bad)) == 2
    assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(published.paths[0])


@locally
def test_a_byte_that_is_flipped_for_ever_is_no_success(site: Site, published: Registered, tmp_path: Path) -> None:
    site.store.inject(Flip(0), method="GET", path=site.path_of(published.id), range=f"bytes={PART}-", times=None)
    result = site.run("download", "--object-id", published.id, "--output-dir", tmp_path / "out", status=INTEGRITY)
    assert "reads.bam" in result.stderr
    assert not (tmp_path / "out" / "reads.bam").exists()


@befall([Answer.unavailable(), Reset(), LoseResponse()], [LoseResponse()])
def test_every_call_to_the_server_may_fail_once(site: Site, files: Registered, fault: Fault, tmp_path: Path) -> None:
    calls = [
        ("GET", "^/profile$"),
        ("GET", f"^/upload/{files.id}$"),
        ("GET", "/status$"),
        ("POST", "/begin$"),
        ("POST", "/uploads$"),
        ("POST", "/parts$"),
        ("POST", f"^/upload/{files.id}$"),
        ("GET", f"^/download/{files.id}$"),
    ]
    for method, path in calls:
        site.score.inject(fault, method=method, path=path)
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
    assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(files.paths[0])
    failed = [call for call in site.score.seen() if call.end == "fault"]
    assert {call.path for call in failed} >= {"/profile", f"/upload/{files.id}", f"/upload/{files.id}/parts"}


@pytest.mark.parametrize("fault", [Answer(400, b"{}"), Answer.unavailable(), Answer.garbage(), Reset()], ids=name_of)
def test_a_completion_that_fails_for_ever_is_no_success(site: Site, files: Registered, fault: Fault) -> None:
    site.score.inject(fault, method="POST", path=f"^/upload/{files.id}$", times=None)
    result = site.run("upload", "--manifest", files.manifest, status={FAILED, NOT_FOUND, LATER, INTEGRITY, 2})
    assert "reads.bam" in result.stderr
    assert not site.has_object(files.id)
    site.heal()
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)


def test_a_completion_that_was_done_unheard_is_a_success(site: Site, files: Registered) -> None:
    site.score.inject(LoseResponse(), method="POST", path=f"^/upload/{files.id}$", times=3)
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    assert sorted(call.part for call in site.sent(files.id)) == [1, 2, 3, 4]


@locally
@pytest.mark.parametrize("path", ["/profile$", "/upload/", "/(begin|uploads)$", "/parts$"])
def test_garbage_from_the_server_is_no_success(site: Site, files: Registered, path: str) -> None:
    site.score.inject(Answer.garbage(), path=path, times=None)
    site.run("upload", "--manifest", files.manifest, status={2, FAILED, LATER, INTEGRITY})
    site.heal()
    assert not site.has_object(files.id)


@locally
def test_a_store_that_is_away_is_told_before_anything_is_sent(site: Site, files: Registered) -> None:
    site.store.inject(Reset(), method="GET", path=f"^{site.objects}.*heliograph$", times=None)
    site.run("upload", "--manifest", files.manifest, status=LATER)
    assert site.sent(files.id) == []
    site.run("upload", "--manifest", files.manifest, "--verify-connection", "false")
    site.publish(files)


@locally
def test_a_server_that_is_away_is_named(site: Site, files: Registered) -> None:
    site.score_proxy.shut()
    result = site.run("upload", "--manifest", files.manifest, status=LATER)
    assert site.url.removeprefix("http://") in result.stderr
    site.score_proxy.open()
    site.run("upload", "--manifest", files.manifest)


@locally
def test_a_server_that_comes_back_is_waited_for(site: Site, files: Registered) -> None:
    gate = site.store.hold(method="PUT", path=site.path_of(files.id), part=3, after=1000)
    with site.start("upload", "--manifest", files.manifest, storage_retryNumber="12") as client:
        gate.wait_for_arrival()
        site.score_proxy.shut()
        gate.open()
        client.wait_until(lambda: "again" in client.stderr.lower() or "retry" in client.stderr.lower())
        site.score_proxy.open()
        client.conclude()
    site.publish(files)


def test_parts_may_finish_in_any_order(site: Site, files: Registered) -> None:
    gate = site.store.hold(method="PUT", path=site.path_of(files.id), part=1)
    with site.start("upload", "--manifest", files.manifest) as client:
        site.score.wait_for(PARTS - 1, method="POST", path="/parts$", status=200)
        gate.open()
        client.conclude()
    assert sorted(call.part for call in site.sent(files.id)) == [1, 2, 3, 4]
    site.publish(files)


def test_two_clients_cannot_both_upload_one_object(
    site: Site, files: Registered, make_file: Maker, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere" / "reads.bam"
    copy.parent.mkdir()
    copy.write_bytes(files.paths[0].read_bytes())
    gate = site.store.hold(method="PUT", path=site.path_of(files.id), after=1000)
    with site.start("upload", "--manifest", files.manifest) as first:
        gate.wait_for_arrival()
        result = site.run("upload", "--object-id", files.id, "--file", copy, status=FAILED)
        assert "reads.bam" in result.stderr
        gate.open()
        first.conclude()
    site.publish(files)


@pytest.mark.parametrize(("path", "options"), [("/begin", []), ("/uploads", ["--force"])], ids=["begin", "start"])
def test_clients_that_start_together_leave_the_right_object(
    site: Site, files: Registered, tmp_path: Path, path: str, options: list[str]
) -> None:
    copy = tmp_path / "elsewhere" / "reads.bam"
    copy.parent.mkdir()
    copy.write_bytes(files.paths[0].read_bytes())
    gate = site.score.hold(method="POST", path=f"{path}$")
    with (
        site.start("upload", "--manifest", files.manifest, *options) as first,
        site.start("upload", "--object-id", files.id, "--file", copy, *options) as second,
    ):
        site.score.wait(lambda seen: len([call for call in seen if call.path.endswith(path)]) == 2)
        gate.open()
        ends = [client.conclude({0, FAILED, LATER}).status for client in (first, second)]
    if 0 not in ends:
        assert not site.has_object(files.id)
        site.run("upload", "--manifest", files.manifest, "--force")
    site.publish(files)
    site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
    assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(copy)


@on_minio
class TestBetweenServerAndStore:
    """Faults that only the server sees."""

    @pytest.mark.parametrize("fault", [Answer.unavailable(), Reset(), LoseResponse()], ids=name_of)
    def test_that_pass_are_not_noticed(self, site: Site, files: Registered, fault: Fault, tmp_path: Path) -> None:
        assert site.behind is not None
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            site.behind.inject(fault, method=method, path=files.id)
        site.run("upload", "--manifest", files.manifest)
        site.publish(files)
        site.behind.inject(fault, method="GET", path=files.id)
        site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
        assert md5_of(tmp_path / "out" / "reads.bam") == md5_of(files.paths[0])

    def test_that_stay_are_no_success(self, site: Site, files: Registered) -> None:
        assert site.behind is not None
        site.behind.inject(Answer.denied(), method="POST", query="uploadId", times=None)
        result = site.run("upload", "--manifest", files.manifest, status={FAILED, LATER})
        assert "reads.bam" in result.stderr
        site.heal()
        assert not site.has_object(files.id)
        site.run("upload", "--manifest", files.manifest)
        site.publish(files)

    def test_a_small_file_whose_client_and_server_were_killed_in_its_completion(
        self, site: Site, make_file: Maker, tmp_path: Path
    ) -> None:
        """Its parts were joined, and nobody has recorded what they were: another server goes on."""
        assert site.behind is not None
        files = site.register([make_file("small.bam", MIB)])
        written = {"method": "PUT", "path": rf"data/{files.id}\.meta$"}
        site.behind.inject(Reset(), **written, times=None)
        with site.start("upload", "--manifest", files.manifest) as client:
            site.behind.wait_for(**written)
            client.kill()
            site.server.kill()
        site.heal()
        site.run("upload", "--manifest", files.manifest)
        assert site.sent(files.id) == []
        site.publish(files)
        site.run("download", "--object-id", files.id, "--output-dir", tmp_path / "out")
        assert md5_of(tmp_path / "out" / "small.bam") == md5_of(files.paths[0])

    def test_a_server_killed_in_the_middle_of_a_completion_completes_it(self, site: Site, files: Registered) -> None:
        assert site.behind is not None
        gate = site.behind.hold(method="PUT", path=rf"data/{files.id}\.meta$", times=1)
        with site.start("upload", "--manifest", files.manifest, storage_retryNumber="12") as client:
            gate.wait_for_arrival()
            site.server.kill()
            gate.open()
            site.score.wait(lambda seen: any(call.end == "upstream gone" for call in seen))
            site.server.start()
            client.conclude()
        assert sorted(call.part for call in site.sent(files.id)) == [1, 2, 3, 4]
        site.publish(files)
