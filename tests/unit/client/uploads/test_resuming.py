"""Uploads that were interrupted, here or elsewhere, and the state that is kept of them."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.outcome import State
from score.errors import Conflict, Integrity, Unauthenticated, Unavailable
from score.testing.faults import Answer, LoseResponse
from score.testing.privileges import unprivileged
from score.testing.score import FaultyScore
from score.transfer.events import Note, Planned

from .conftest import DATA, MD5, OBJECT, OTHER, PART


def bytes_read() -> int:
    """What this process has read from files."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"])


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

    @pytest.mark.parametrize("finished", [0, 3])
    def test_one_that_is_given_with_another_md5_is_begun_anew(
        self, client: Client, site: FaultyScore, path: Path, finished: int
    ) -> None:
        """What the server was told at the start is what it says of the object, whatever was sent."""
        site.traffic.inject(Answer(401), path="/parts", query="partNumber=6", times=None)
        with pytest.raises(Unauthenticated):
            client.upload(path, OBJECT, MD5)
        for number in range(finished + 1, 6):
            del site.fake.uploads[OBJECT].finished[number]
        site.traffic.heal()
        path.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        assert client.upload(path, OBJECT, md5).state is State.UPLOADED
        assert site.fake.objects[OBJECT].data == path.read_bytes()
        assert site.fake.objects[OBJECT].md5 == md5
        assert any("with another MD5; starting over" in note.text for note in site.heard.of(Note))

    def test_nor_is_a_small_one_completed_with_the_md5_of_before(
        self, client: Client, site: FaultyScore, path: Path
    ) -> None:
        path.write_bytes(b"small")
        md5 = hashlib.md5(b"small").hexdigest()
        site.traffic.inject(Answer(401), method="DELETE", times=None)  # it stays, after the wrong MD5 was found
        with pytest.raises(Integrity, match="nothing was completed"):
            client.upload(path, OBJECT, MD5)
        site.traffic.heal()
        assert client.upload(path, OBJECT, md5).state is State.UPLOADED
        assert site.fake.objects[OBJECT].md5 == md5

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
