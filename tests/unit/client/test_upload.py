"""Uploading objects: what the server is asked, what is kept, and what counts as success."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import threading
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.manifests import UploadEntry
from score.client.outcome import Outcome, State
from score.client.rehearsal import rehearse_uploads
from score.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    Forbidden,
    Integrity,
    Invalid,
    NotFound,
    Refused,
    ScoreError,
    Unauthenticated,
    Unavailable,
)
from score.testing.faults import Answer, LoseResponse, Reset
from score.testing.privileges import unprivileged
from score.testing.score import FaultyScore
from score.testing.song import FakeSong
from score.transfer.budget import FILES
from score.transfer.events import Checked, Ended, Note, Planned

ANALYSIS = "a11aca11-0000-4000-8000-000000000001"
OBJECT = "5c0eca11-0000-4000-8000-000000000001"
OTHER = "5c0eca11-0000-4000-8000-000000000002"
PART = 64 * 1024
DATA = random.Random(2).randbytes(5 * PART + 1000)
MD5 = hashlib.md5(DATA).hexdigest()
WRONG = "0" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.bam"
    path.write_bytes(DATA)
    return path


def bytes_read() -> int:
    """What this process has read from files."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"])


def calls(site: FaultyScore) -> list[str]:
    """What was asked of the server, without parts."""
    seen = (f"{exchange.method} {exchange.path}?{exchange.query}" for exchange in site.traffic.seen(path="^/upload/"))
    return [call.replace(OBJECT, "ID").rstrip("?") for call in seen if "/parts" not in call]


def in_thread(work: object, *arguments: object, **options: object) -> tuple[threading.Thread, list[object]]:
    """Run something that may raise an error of Score; its end is in the list when the thread is through."""
    ends: list[object] = []

    def run() -> None:
        try:
            ends.append(work(*arguments, **options))  # type: ignore[operator]
        except ScoreError as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ends


def test_a_file_becomes_an_object(client: Client, site: FaultyScore, path: Path) -> None:
    outcome = client.upload(path, OBJECT, MD5)
    assert outcome == Outcome(OBJECT, State.UPLOADED, path, len(DATA), MD5)
    assert site.fake.objects[OBJECT].data == DATA
    assert site.fake.objects[OBJECT].md5 == MD5
    assert calls(site) == [
        "GET /upload/ID",
        f"GET /upload/ID/status?fileSize={len(DATA)}",
        f"POST /upload/ID/uploads?fileSize={len(DATA)}&overwrite=false&md5={MD5}",
        "POST /upload/ID?uploadId=upload-1",
        "GET /upload/ID",
    ]
    assert os.listdir(path.parent) == ["a.bam"]


def test_without_an_md5_the_files_own_is_used(client: Client, site: FaultyScore, path: Path) -> None:
    assert client.upload(path, OBJECT).md5 == MD5
    assert site.fake.objects[OBJECT].md5 == MD5


def checked(site: FaultyScore) -> int:
    """Bytes that were read to be compared only, as it was told."""
    return sum(event.count for event in site.heard.of(Checked))


def test_it_is_told_that_the_md5_is_computed(client: Client, site: FaultyScore, path: Path) -> None:
    client.upload(path, OBJECT)
    assert checked(site) == len(DATA)
    before, then = site.heard.of(Planned)
    assert (before.item, before.size, before.done) == (str(path), len(DATA), 0)
    assert (then.size, then.parts, then.done) == (len(DATA), 6, 0)
    assert {event.item for event in site.heard.of(Checked)} == {str(path)}


class TestWithoutAnMd5:
    """The registry is asked first, and the file is read as often as it has to be."""

    def test_another_size_is_found_before_the_file_is_read(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=5, md5=MD5, object_id=OBJECT)
        with pytest.raises(Integrity, match=rf"has {len(DATA):,} bytes, but 5 are registered"):
            client.upload(path, OBJECT)
        assert checked(site) == 0
        assert site.puts == []

    def test_the_registered_one_is_what_it_has_to_be(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=MD5.upper(), object_id=OBJECT)
        assert client.upload(path, OBJECT) == Outcome(OBJECT, State.UPLOADED, path, len(DATA), MD5)
        assert checked(site) == 0, "it is hashed while it is sent"
        assert site.fake.objects[OBJECT].md5 == MD5
        assert len(song.traffic.seen(path="/files")) == 1, "and the registry is asked once"

    def test_another_file_is_never_completed(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=WRONG, object_id=OBJECT)
        with pytest.raises(Integrity, match=f"has MD5 {MD5}, but {WRONG} was given or registered"):
            client.upload(path, OBJECT)
        assert OBJECT not in site.fake.objects
        assert OBJECT not in site.fake.uploads

    def test_with_force_another_file_is_found_before_a_byte_moves(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=WRONG, object_id=OBJECT)
        with pytest.raises(Integrity, match=f"MD5 {WRONG} is registered, but {MD5} was given"):
            client.upload(path, OBJECT, force=True)
        assert not any(call.startswith("POST") for call in calls(site))

    def test_that_it_is_there_already_is_never_taken_from_the_registry(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=MD5, object_id=OBJECT)
        site.fake.add(OBJECT, DATA)
        assert client.upload(path, OBJECT) == Outcome(OBJECT, State.PRESENT, path, len(DATA), MD5)
        assert checked(site) == len(DATA)
        path.write_bytes(DATA[::-1])
        with pytest.raises(AlreadyExists, match=f"with MD5 {MD5} instead of "):
            client.upload(path, OBJECT)
        assert site.fake.objects[OBJECT].data == DATA

    def test_one_of_another_size_in_the_store_is_told_without_reading(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, md5=MD5, object_id=OBJECT, size=len(DATA))
        site.fake.add(OBJECT, DATA[:-1])
        with pytest.raises(AlreadyExists, match="bytes instead of"):
            client.upload(path, OBJECT)
        assert checked(site) == 0

    def test_the_rest_of_an_upload_is_sent_without_asking_or_reading_again(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=MD5, object_id=OBJECT)
        site.traffic.inject(Answer(401), path="/parts", skip=3, times=None)
        with pytest.raises(Unauthenticated):
            client.upload(path, OBJECT)
        site.traffic.heal()
        song.traffic.forget()
        assert client.upload(path, OBJECT) == Outcome(OBJECT, State.UPLOADED, path, len(DATA), MD5)
        assert song.traffic.seen() == []
        assert checked(site) == 0, "the parts that were finished are compared while it is hashed"

    def test_a_file_that_became_another_is_not_completed_with_the_md5_of_before(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer(401), path="/parts", query="partNumber=6", times=None)
        with pytest.raises(Unauthenticated):
            client.upload(path, OBJECT)
        site.traffic.heal()
        path.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
        with pytest.raises(Integrity, match=f"but {MD5} was given or registered"):
            client.upload(path, OBJECT)
        assert OBJECT not in site.fake.objects
        assert client.upload(path, OBJECT).state is State.UPLOADED
        assert site.fake.objects[OBJECT].data == path.read_bytes()
        assert site.fake.objects[OBJECT].md5 == hashlib.md5(path.read_bytes()).hexdigest()

    def test_a_rehearsal_reads_it_and_tells_of_another_file(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=WRONG, object_id=OBJECT)
        (outcome,) = rehearse_uploads(client, [UploadEntry(OBJECT, path, "")])
        assert f"MD5 {WRONG} is registered" in str(outcome.error)
        path.write_bytes(b"short")
        (outcome,) = rehearse_uploads(client, [UploadEntry(OBJECT, path, "")])
        assert "has 5 bytes" in str(outcome.error)
        assert checked(site) == len(DATA), "not read where it has another size"


def test_an_md5_in_capitals_is_the_same(client: Client, path: Path) -> None:
    assert client.upload(path, OBJECT, MD5.upper()).state is State.UPLOADED


def test_an_empty_file_works(client: Client, site: FaultyScore, path: Path) -> None:
    path.write_bytes(b"")
    assert client.upload(path, OBJECT).state is State.UPLOADED
    assert site.fake.objects[OBJECT].data == b""


def test_the_store_never_sees_the_token(client: Client, site: FaultyScore, path: Path) -> None:
    client.upload(path, OBJECT, MD5)
    token = client.settings.token
    for exchange in site.traffic.seen():
        carried = token in str(exchange.headers)
        assert carried == exchange.path.startswith(("/upload/", "/profile"))


@pytest.mark.parametrize(("object_id", "md5"), [("x", MD5), (OBJECT, "abc")])
def test_nonsense_is_refused_before_anything_is_asked(
    client: Client, site: FaultyScore, path: Path, object_id: str, md5: str
) -> None:
    with pytest.raises(Invalid):
        client.upload(path, object_id, md5)
    assert site.traffic.seen() == []


class TestExisting:
    def test_the_same_file_is_already_there(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.fake.add(OBJECT, DATA)
        assert client.upload(path, OBJECT, MD5).state is State.PRESENT
        assert site.puts == []
        (asked,) = site.traffic.seen(path="/download/")
        assert asked.query == "offset=0&length=-1&exclude-urls=true"

    def test_state_left_behind_is_cleaned_up(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.fake.add(OBJECT, DATA)
        (path.parent / f".{OBJECT}").mkdir()
        (path.parent / f".{OBJECT}" / "uploadId").write_text("upload-1\n")
        client.upload(path, OBJECT, MD5)
        assert os.listdir(path.parent) == ["a.bam"]

    @pytest.mark.parametrize(
        ("data", "known", "says"),
        [
            (DATA[:-1], True, rf"with {len(DATA) - 1:,} bytes instead of {len(DATA):,}"),
            (DATA[::-1], True, rf"with MD5 [0-9a-f]{{32}} instead of {MD5}"),
            (DATA, False, "the server does not know its MD5"),
        ],
    )
    def test_another_one_is_not_replaced(
        self, client: Client, site: FaultyScore, path: Path, data: bytes, known: bool, says: str
    ) -> None:
        site.fake.add(OBJECT, data, whole_md5=known)
        with pytest.raises(AlreadyExists, match=says) as caught:
            client.upload(path, OBJECT, MD5)
        assert "--force" in caught.value.hint
        assert site.fake.objects[OBJECT].data == data

    def test_one_that_cannot_be_compared_is_not_replaced(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.fake.add(OBJECT, DATA)
        site.traffic.inject(Answer(403, b"Token missing required scope"), path="/download/")
        with pytest.raises(AlreadyExists, match=r"cannot be compared .*Token missing required scope"):
            client.upload(path, OBJECT, MD5)

    def test_with_force_it_is_replaced(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.fake.add(OBJECT, b"other")
        assert client.upload(path, OBJECT, MD5, force=True).state is State.UPLOADED
        assert site.fake.objects[OBJECT].data == DATA
        assert f"POST /upload/ID/uploads?fileSize={len(DATA)}&overwrite=true&md5={MD5}" in calls(site)


class TestResuming:
    def interrupt(self, client: Client, site: FaultyScore, path: Path, *, finished: int = 3) -> None:
        """Leave an upload behind of which so many parts are finished, as a kill would."""
        site.traffic.inject(Answer(401), path="/parts", skip=finished, times=None)
        with pytest.raises(Unauthenticated):
            client.upload(path, OBJECT, MD5)
        assert len(site.fake.uploads[OBJECT].finished) == finished
        site.traffic.heal()
        site.traffic.forget()

    def test_finished_parts_are_not_sent_again(self, client: Client, site: FaultyScore, path: Path) -> None:
        self.interrupt(client, site, path)
        done = set(site.fake.uploads[OBJECT].finished)
        assert (path.parent / f".{OBJECT}" / "uploadId").read_bytes() == b"upload-1\n"
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED
        assert site.fake.objects[OBJECT].data == DATA
        assert site.fake.objects[OBJECT].upload_id == "upload-1"
        assert set(site.puts) == {1, 2, 3, 4, 5, 6} - done
        assert os.listdir(path.parent) == ["a.bam"]
        planned = site.heard.of(Planned)[-1]
        assert (planned.parts, planned.done_parts) == (6, 3)
        assert planned.done == sum(len(DATA[(number - 1) * PART : number * PART]) for number in done)

    def test_an_upload_whose_parts_are_not_the_file_is_not_gone_on_with(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        self.interrupt(client, site, path)
        site.fake.uploads[OBJECT].parts.pop()
        with pytest.raises(Conflict, match="its state cannot be used"):
            client.upload(path, OBJECT, MD5)
        assert site.puts == []
        assert site.fake.objects == {}

    def test_a_file_that_changed_since_is_sent_anew(self, client: Client, site: FaultyScore, path: Path) -> None:
        """Its finished parts hold the bytes of before: completing them would make an object of both."""
        path.write_bytes(DATA[::-1])
        self.interrupt(client, site, path)
        path.write_bytes(DATA)
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED
        assert site.fake.objects[OBJECT].data == DATA
        assert set(site.puts) == {1, 2, 3, 4, 5, 6}
        assert site.fake.objects[OBJECT].upload_id == "upload-2"
        assert any("starting over" in note.text for note in site.heard.of(Note))

    def test_one_that_changed_in_a_finished_part_only_is_never_completed_of_both(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer(401), path="/parts", query="partNumber=6", times=None)
        with pytest.raises(Unauthenticated):
            client.upload(path, OBJECT)
        assert set(site.fake.uploads[OBJECT].finished) == {1, 2, 3, 4, 5}
        site.traffic.heal()
        path.write_bytes(bytes([DATA[0] ^ 1]) + DATA[1:])
        assert client.upload(path, OBJECT).state is State.UPLOADED
        assert site.fake.objects[OBJECT].data == path.read_bytes()

    @pytest.mark.skipif(sys.platform != "linux", reason="the system counts what is read")
    def test_no_byte_is_read_once_more_to_compare_it(self, client: Client, site: FaultyScore, path: Path) -> None:
        path.write_bytes(DATA * 20)
        md5 = hashlib.md5(DATA * 20).hexdigest()
        site.traffic.inject(Answer(401), path="/parts", skip=80, times=None)
        with pytest.raises(Unauthenticated):
            client.upload(path, OBJECT, md5)
        site.traffic.heal()
        finished = len(site.fake.uploads[OBJECT].finished) * PART
        before = bytes_read()
        assert client.upload(path, OBJECT, md5).state is State.UPLOADED
        needed = 2 * len(DATA) * 20 - finished
        assert needed <= bytes_read() - before < needed + finished / 2

    def test_an_upload_begun_elsewhere_is_left_alone(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.fake.begin(OBJECT, len(DATA))
        with pytest.raises(Conflict, match="begun elsewhere") as caught:
            client.upload(path, OBJECT, MD5)
        assert "--force" in caught.value.hint
        assert site.fake.uploads[OBJECT].id == "upload-1"
        assert site.puts == []

    def test_an_upload_that_was_replaced_elsewhere_is_left_alone(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        self.interrupt(client, site, path)
        site.fake.begin(OBJECT, len(DATA))
        with pytest.raises(Conflict, match="begun elsewhere"):
            client.upload(path, OBJECT, MD5)

    def test_with_force_it_is_replaced(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.fake.begin(OBJECT, len(DATA))
        assert client.upload(path, OBJECT, MD5, force=True).state is State.UPLOADED
        assert site.fake.objects[OBJECT].upload_id == "upload-2"

    def test_with_force_an_upload_of_our_own_is_still_gone_on_with(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        self.interrupt(client, site, path)
        assert client.upload(path, OBJECT, MD5, force=True).state is State.UPLOADED
        assert len(site.puts) == 3

    def test_an_upload_of_another_size_is_told_as_such(self, client: Client, site: FaultyScore, path: Path) -> None:
        self.interrupt(client, site, path)
        path.write_bytes(DATA + b"more")
        with pytest.raises(Conflict, match="it had another size when its upload was begun"):
            client.upload(path, OBJECT)
        assert client.upload(path, OBJECT, force=True).state is State.UPLOADED

    def test_an_upload_that_was_cleaned_up_is_begun_anew(self, client: Client, site: FaultyScore, path: Path) -> None:
        self.interrupt(client, site, path)
        site.fake.uploads.clear()
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED

    def test_a_start_whose_answer_was_lost_is_ours(self, client: Client, site: FaultyScore, path: Path) -> None:
        """Killed after the server had begun, before it had answered."""
        site.traffic.inject(LoseResponse(), path="/uploads", times=None)
        with pytest.raises(Unavailable):
            client.upload(path, OBJECT, MD5)
        assert OBJECT in site.fake.uploads
        site.traffic.heal()
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED

    @pytest.mark.parametrize("text", [b"\xff\xfe", b"upload-77\n", b"\x00\n"])
    def test_damaged_state_is_not_taken_for_ours(
        self, client: Client, site: FaultyScore, path: Path, text: bytes
    ) -> None:
        self.interrupt(client, site, path)
        (path.parent / f".{OBJECT}" / "uploadId").write_bytes(text)
        with pytest.raises(Conflict, match="begun elsewhere"):
            client.upload(path, OBJECT, MD5)

    @pytest.mark.parametrize(
        "about",
        [
            {"version": 9, "readable": 9, "object": OBJECT},
            {"version": 1, "readable": 1, "object": OTHER},
            None,
        ],
        ids=["newer", "foreign", "no id"],
    )
    def test_of_state_that_cannot_be_used_the_way_out_is_told(
        self, client: Client, site: FaultyScore, path: Path, about: dict[str, object] | None
    ) -> None:
        """Nobody knows whose the upload in progress is: it is not dropped unasked."""
        self.interrupt(client, site, path)
        state = path.parent / f".{OBJECT}"
        (state / "about").write_text(json.dumps(about)) if about else (state / "uploadId").write_bytes(b"")
        with pytest.raises(Conflict, match="from here, and its state cannot be used") as caught:
            client.upload(path, OBJECT, MD5)
        assert "with the version that began it" in caught.value.hint
        assert "--force" in caught.value.hint
        assert site.fake.uploads[OBJECT].id == "upload-1"
        assert site.puts == []
        assert client.upload(path, OBJECT, MD5, force=True).state is State.UPLOADED
        assert os.listdir(path.parent) == ["a.bam"]

    def test_where_no_upload_is_in_progress_state_that_cannot_be_used_counts_for_nothing(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        self.interrupt(client, site, path)
        (path.parent / f".{OBJECT}" / "about").write_text('{"version": 9, "readable": 9, "object": "x"}')
        site.fake.uploads.clear()
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED
        assert any("newer version" in note.text for note in site.heard.of(Note))

    def test_a_folder_that_cannot_be_written_to_is_no_hindrance(
        self, client: Client, site: FaultyScore, path: Path, home: Path
    ) -> None:
        path.parent.chmod(0o555)

        def run() -> None:
            self.interrupt(client, site, path)
            assert client.upload(path, OBJECT, MD5).state is State.UPLOADED

        unprivileged(run)
        assert len(site.puts) == 3
        assert not list(home.rglob("uploadId"))

    def test_the_state_may_have_a_folder_of_its_own(
        self, make_client: type[Client], site: FaultyScore, path: Path, tmp_path: Path
    ) -> None:
        client = make_client(upload_state=tmp_path / "state")  # type: ignore[call-arg]
        self.interrupt(client, site, path)
        assert (tmp_path / "state" / f".{OBJECT}" / "uploadId").exists()
        assert os.listdir(path.parent) == ["a.bam"]
        client.upload(path, OBJECT, MD5)
        assert len(site.puts) == 3


class TestProof:
    def test_a_wrong_md5_completes_nothing(self, client: Client, site: FaultyScore, path: Path) -> None:
        with pytest.raises(Integrity, match=f"has MD5 {MD5}, but {WRONG} .* nothing was completed"):
            client.upload(path, OBJECT, WRONG)
        assert OBJECT not in site.fake.objects
        assert OBJECT not in site.fake.uploads
        assert calls(site)[-1] == "DELETE /upload/ID"
        assert os.listdir(path.parent) == ["a.bam"]

    def test_a_server_that_refuses_the_completion_for_ever_is_no_success(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer(400, b'{"message":"broken state"}'), method="POST", path=f"{OBJECT}$", times=None)
        with pytest.raises(Conflict, match="broken state"):
            client.upload(path, OBJECT, MD5)
        assert OBJECT not in site.fake.objects
        assert (path.parent / f".{OBJECT}" / "uploadId").exists()

    def test_a_completion_that_made_no_object_is_no_success(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer(200), method="POST", path=f"{OBJECT}$", times=None)
        with pytest.raises(Integrity, match="reported the upload as completed, but the object is not there"):
            client.upload(path, OBJECT, MD5)

    @pytest.mark.parametrize("fault", [LoseResponse(), Answer(503), Answer(504), Reset()], ids=repr)
    def test_a_completion_without_an_answer_is_asked_for_again(
        self, client: Client, site: FaultyScore, path: Path, fault: Reset | Answer
    ) -> None:
        site.traffic.inject(fault, method="POST", path=f"{OBJECT}$", times=2)
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED

    def test_a_store_that_refuses_a_part_for_ever_is_no_success(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer.denied(), method="PUT", part=2, times=None)
        with pytest.raises(Refused, match=r"403 AccessDenied"):
            client.upload(path, OBJECT, MD5)
        assert not any(call.startswith("POST /upload/ID?") for call in calls(site))

    def test_an_upload_that_is_cancelled_meanwhile_is_told_as_such(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        gate = site.traffic.hold(method="PUT", part=2)
        thread, ends = in_thread(client.upload, path, OBJECT, MD5)
        gate.wait_for_arrival()
        site.fake.uploads.clear()
        site.traffic.heal()
        thread.join()
        (error,) = ends
        assert isinstance(error, Conflict)
        assert "replaced or cancelled meanwhile" in error.message

    def test_urls_of_somebody_elses_upload_are_not_used(self, client: Client, site: FaultyScore, path: Path) -> None:
        """The upload was replaced by another, and the URLs are renewed: the parts must not go into the other one."""
        gate = site.traffic.hold(method="PUT", part=2)
        thread, ends = in_thread(client.upload, path, OBJECT, MD5)
        gate.wait_for_arrival()
        site.fake.begin(OBJECT, len(DATA))
        site.fake.expire()
        site.traffic.heal()
        thread.join()
        assert isinstance(ends[0], Conflict)
        assert site.fake.uploads[OBJECT].stored == {}

    def test_a_file_that_is_removed_meanwhile_is_not_told_as_an_upload_that_was_cancelled(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        gate = site.traffic.hold(method="PUT", part=2)
        thread, ends = in_thread(client.upload, path, OBJECT, MD5)
        gate.wait_for_arrival()
        path.unlink()
        site.traffic.heal()
        thread.join()
        assert isinstance(ends[0], Integrity)
        assert (path.parent / f".{OBJECT}" / "uploadId").exists()

    def test_a_specification_of_another_size_is_refused(self, client: Client, site: FaultyScore, path: Path) -> None:
        body = (
            b'{"objectKey":"k","objectId":"i","uploadId":"u","objectSize":9,"parts":'
            b'[{"partNumber":1,"partSize":9,"offset":0,"url":"http://x/","md5":null}]}'
        )
        site.traffic.inject(Answer(200, body), path="/uploads")
        with pytest.raises(Refused, match="does not fit a file of"):
            client.upload(path, OBJECT, MD5)
        assert site.puts == []


class TestRegistered:
    def test_another_size_is_found_before_a_byte_moves(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=5, md5=MD5, object_id=OBJECT)
        with pytest.raises(Integrity, match=rf"has {len(DATA):,} bytes, but 5 are registered"):
            client.upload(path, OBJECT, MD5)
        assert OBJECT not in site.fake.uploads

    def test_another_md5_is_found_before_a_byte_moves(
        self, client: Client, site: FaultyScore, song: FakeSong, path: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=WRONG, object_id=OBJECT)
        with pytest.raises(Integrity, match=f"MD5 {WRONG} is registered, but {MD5} was given"):
            client.upload(path, OBJECT, MD5)
        assert OBJECT not in site.fake.uploads

    def test_what_fits_is_sent(self, client: Client, song: FakeSong, path: Path) -> None:
        song.register("a.bam", analysis=ANALYSIS, size=len(DATA), md5=MD5.upper(), object_id=OBJECT)
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED

    @pytest.mark.parametrize("answer", [Answer(500), Answer(503), Answer(401), Answer.garbage()], ids=repr)
    def test_a_registry_that_does_not_tell_is_no_hindrance(
        self, client: Client, song: FakeSong, path: Path, answer: Answer
    ) -> None:
        song.traffic.inject(answer, times=None)
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED


class TestServerErrors:
    @pytest.mark.parametrize(
        ("answer", "kind", "says"),
        [
            (Answer(401), Unauthenticated, "401"),
            (Answer(403, b"Token missing required scope to update project"), Forbidden, "Token missing required"),
            (Answer(404, b'{"message":"Not registered"}'), NotFound, "Not registered"),
            (Answer(400, b'{"status":400,"error":"Bad Request","path":"/x"}'), Conflict, "answered 400"),
            (Answer(500, b"<html>Whitelabel Error Page</html>"), Refused, "answered 500"),
            (Answer(503, b'{"message":"The store is away"}'), Unavailable, "The store is away .*gave up after 3"),
            (Answer(302, b"", {"Location": "http://login/"}), Refused, "sends us elsewhere"),
            (Answer.garbage(), Unavailable, "makes no sense"),
            (Answer(200, b"\xff\xfe"), Unavailable, "makes no sense"),
            (Answer(200, b'{"objectId":1}'), Unavailable, "makes no sense"),
            (Answer(200, b"x", {"Content-Encoding": "gzip"}), Unavailable, "/uploads"),
        ],
        ids=repr,
    )
    def test_each_has_its_error(
        self, client: Client, site: FaultyScore, path: Path, answer: Answer, kind: type[ScoreError], says: str
    ) -> None:
        site.traffic.inject(answer, path="/uploads", times=None)
        with pytest.raises(kind, match=says):
            client.upload(path, OBJECT, MD5)
        assert OBJECT not in site.fake.objects

    def test_a_start_that_is_refused_leaves_nothing_behind(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        site.traffic.inject(Answer(400), path="/uploads")
        with pytest.raises(Conflict):
            client.upload(path, OBJECT, MD5)
        assert os.listdir(path.parent) == ["a.bam"]

    def test_a_server_that_comes_back_is_waited_for(self, client: Client, site: FaultyScore, path: Path) -> None:
        for call in ("/upload/[^/]+$", "/status", "/uploads", "/parts"):
            site.traffic.inject(Answer(503), path=call, times=2)
        assert client.upload(path, OBJECT, MD5).state is State.UPLOADED


class TestMany:
    def test_one_bad_file_does_not_stop_the_rest(self, client: Client, site: FaultyScore, path: Path) -> None:
        entries = [
            UploadEntry(OTHER, path.with_name("missing.bam"), MD5),
            UploadEntry(OBJECT, path, MD5),
            UploadEntry("5c0eca11-0000-4000-8000-000000000003", path.parent, MD5),
            UploadEntry("5c0eca11-0000-4000-8000-000000000004", path.with_name("x" * 300), MD5),
        ]
        outcomes = client.upload_all(entries)
        assert [outcome.state for outcome in outcomes] == [State.FAILED, State.UPLOADED, State.FAILED, State.FAILED]
        assert [type(outcome.error) for outcome in outcomes] == [NotFound, type(None), Invalid, Refused]
        assert all(str(outcome.path) in str(outcome.error) for outcome in outcomes if outcome.error)
        assert sorted(event.state for event in site.heard.of(Ended)) == ["failed", "failed", "failed", "uploaded"]
        assert {event.item for event in site.heard.of(Ended)} == {str(entry.path) for entry in entries}

    def test_what_all_would_meet_ends_the_rest_at_once(self, client: Client, site: FaultyScore, path: Path) -> None:
        site.traffic.inject(Answer(401), times=None)
        entries = [UploadEntry(f"5c0eca11-0000-4000-8000-{number:012}", path, MD5) for number in range(50)]
        outcomes = client.upload_all(entries)
        assert all(isinstance(outcome.error, Unauthenticated) for outcome in outcomes)
        assert len(outcomes) == 50
        assert len(site.traffic.seen(path="^/upload/")) <= FILES * client.settings.parallel

    def test_nothing_to_do(self, client: Client) -> None:
        assert client.upload_all([]) == []

    def test_a_wish_to_stop_ends_all_and_keeps_what_is_finished(
        self, client: Client, site: FaultyScore, path: Path, make_client: type[Client]
    ) -> None:
        entries = []
        for number in range(8):
            copy = path.with_name(f"{number}.bam")
            copy.write_bytes(DATA)
            entries.append(UploadEntry(f"5c0eca11-0000-4000-8000-{number:012}", copy, MD5))
        gate = site.traffic.hold(method="PUT", after=1000, skip=9)
        thread, ends = in_thread(client.upload_all, entries)
        gate.wait_for_arrival()
        client.stop.set()
        site.traffic.heal()
        thread.join()
        (error,) = ends
        assert isinstance(error, Cancelled)
        assert "Run the same command again" in error.hint
        finished = sum(len(upload.finished) for upload in site.fake.uploads.values()) + 6 * len(site.fake.objects)
        assert finished >= 9 - 3
        site.traffic.forget()
        outcomes = make_client().upload_all(entries)
        assert all(outcome.good for outcome in outcomes)
        assert len(site.puts) == 8 * 6 - finished

    def test_two_clients_on_one_object_never_make_a_mixture(
        self, make_client: type[Client], site: FaultyScore, path: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "else").mkdir()
        other = tmp_path / "else" / "a.bam"
        other.write_bytes(DATA[::-1])
        site.traffic.hold(method="PUT", part=1).open()
        first, one = in_thread(make_client().upload, path, OBJECT)
        second, two = in_thread(make_client().upload, other, OBJECT)
        first.join()
        second.join()
        ends = [*one, *two]
        assert all(isinstance(end, Outcome | AlreadyExists | Conflict | Integrity | Refused) for end in ends), ends
        if OBJECT in site.fake.objects:
            stored = site.fake.objects[OBJECT]
            assert stored.data in (DATA, DATA[::-1])
            assert stored.md5 == hashlib.md5(stored.data).hexdigest()
        assert sum(isinstance(end, Outcome) for end in ends) == (1 if OBJECT in site.fake.objects else 0)
