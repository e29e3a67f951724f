"""What a transfer leaves on the disk: in the reference's places and forms, and of use after any kind of death."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import msgspec
import pytest

from score.errors import NotFound, Refused, ScoreError
from score.protocol.wire import Part, Specification
from score.testing.privileges import unprivileged
from score.transfer.journal import DownloadJournal, UploadJournal

OBJECT = "5c0eca11-0000-4000-8000-000000000024"
SIGNED = "http://store/object/data/x?X-Amz-Signature=0123456789abcdef"
# As the reference's client of version 5.12 left them behind.
META = {
    "objectKey": f"data/{OBJECT}",
    "objectId": OBJECT,
    "uploadId": "MmJi",
    "parts": [
        {
            "partNumber": 1,
            "partSize": 20971520,
            "offset": 0,
            "url": SIGNED,
            "md5": None,
            "sourceMd5": "2557a14c4f749712fcad6370054035bc",
        },
        {"partNumber": 10, "partSize": 5, "offset": 20971520, "url": SIGNED, "md5": None},
    ],
    "objectSize": 20971525,
    "objectMd5": "77af7bd4d2e09a88ee103dc9724f36e5",
}
SPECIFICATION = msgspec.convert(META, Specification)


def parts(journal: DownloadJournal) -> list[Part]:
    return [part for _, part in sorted(journal.finished().items())]


class TestUpload:
    @pytest.fixture
    def journal(self, tmp_path: Path) -> UploadJournal:
        return UploadJournal(tmp_path, OBJECT, tmp_path / "fallback")

    def test_nothing_was_begun(self, journal: UploadJournal) -> None:
        assert journal.upload_id() is None
        assert not journal.intended

    def test_the_id_lies_where_the_reference_has_it(self, journal: UploadJournal, tmp_path: Path) -> None:
        journal.record("MmJi")
        assert (tmp_path / f".{OBJECT}" / "uploadId").read_bytes() == b"MmJi\n"
        assert UploadJournal(tmp_path, OBJECT, tmp_path / "fallback").upload_id() == "MmJi"
        assert not (tmp_path / "fallback").exists()

    @pytest.mark.parametrize("text", [b"MmJi", b"MmJi\n", b"MmJi\r\n", b" MmJi \n\n"])
    def test_an_id_of_any_client_is_read(self, journal: UploadJournal, tmp_path: Path, text: bytes) -> None:
        (tmp_path / f".{OBJECT}").mkdir()
        (tmp_path / f".{OBJECT}" / "uploadId").write_bytes(text)
        assert journal.upload_id() == "MmJi"

    @pytest.mark.parametrize("text", [b"", b"\n", b"  "])
    def test_an_empty_file_is_no_id(self, journal: UploadJournal, tmp_path: Path, text: bytes) -> None:
        (tmp_path / f".{OBJECT}").mkdir()
        (tmp_path / f".{OBJECT}" / "uploadId").write_bytes(text)
        assert journal.upload_id() is None

    def test_a_damaged_file_is_nobodys_id(self, journal: UploadJournal, tmp_path: Path) -> None:
        (tmp_path / f".{OBJECT}").mkdir()
        (tmp_path / f".{OBJECT}" / "uploadId").write_bytes(b"\xff\xfe\x00")
        assert journal.upload_id() not in (None, "MmJi")

    def test_an_unreadable_file_is_named(self, journal: UploadJournal, tmp_path: Path) -> None:
        (tmp_path / f".{OBJECT}" / "uploadId").mkdir(parents=True)
        with pytest.raises(Refused, match="uploadId: Is a directory"):
            journal.upload_id()

    def test_a_start_whose_answer_never_came_is_remembered(self, journal: UploadJournal) -> None:
        journal.intend()
        assert journal.intended
        assert journal.upload_id() is None
        journal.record("MmJi")
        assert not journal.intended

    def test_a_start_that_was_refused_leaves_nothing(self, journal: UploadJournal, tmp_path: Path) -> None:
        journal.intend()
        journal.relent()
        assert not journal.intended
        assert list(tmp_path.iterdir()) == []

    def test_nothing_stays_when_an_upload_is_over(self, journal: UploadJournal, tmp_path: Path) -> None:
        journal.intend()
        journal.record("MmJi")
        journal.forget()
        journal.forget()
        assert list(tmp_path.iterdir()) == []

    def test_files_of_others_are_left_alone(self, journal: UploadJournal, tmp_path: Path) -> None:
        journal.record("MmJi")
        (tmp_path / f".{OBJECT}" / "notes").touch()
        journal.forget()
        assert os.listdir(tmp_path / f".{OBJECT}") == ["notes"]

    def test_the_state_is_nobody_elses_business(self, journal: UploadJournal, tmp_path: Path) -> None:
        journal.record("MmJi")
        assert (tmp_path / f".{OBJECT}" / "uploadId").stat().st_mode & 0o077 == 0
        assert (tmp_path / f".{OBJECT}").stat().st_mode & 0o077 == 0

    def test_a_folder_that_cannot_be_written_to_has_its_state_elsewhere(self, tmp_path: Path) -> None:
        folder = tmp_path / "inbox"
        folder.mkdir(mode=0o555)
        journal = UploadJournal(folder, OBJECT, tmp_path / "fallback")

        def run() -> None:
            journal.intend()
            assert journal.intended
            journal.record("MmJi")
            assert UploadJournal(folder, OBJECT, tmp_path / "fallback").upload_id() == "MmJi"

        unprivileged(run)
        assert list(folder.iterdir()) == []
        assert (tmp_path / "fallback" / f".{OBJECT}" / "uploadId").read_bytes() == b"MmJi\n"
        unprivileged(journal.forget)
        assert list((tmp_path / "fallback").iterdir()) == []

    def test_a_full_disk_does_not_stop_an_upload(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who moves files away from it needs that most."""
        folder = tmp_path / "full"
        folder.mkdir()
        make = os.open

        def full(path: str, flags: int, *more: int) -> int:
            if str(path).startswith(str(folder)) and flags & os.O_CREAT:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return make(path, flags, *more)

        monkeypatch.setattr(os, "open", full)
        journal = UploadJournal(folder, OBJECT, tmp_path / "fallback")
        journal.intend()
        journal.record("MmJi")
        assert UploadJournal(folder, OBJECT, tmp_path / "fallback").upload_id() == "MmJi"
        assert (tmp_path / "fallback" / f".{OBJECT}" / "uploadId").read_bytes() == b"MmJi\n"
        journal.forget()
        assert os.listdir(tmp_path / "fallback") == os.listdir(folder) == []

    def test_nothing_half_written_stays_on_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "full"
        folder.mkdir()
        replace = os.replace

        def full(source: Path, target: Path) -> None:
            if folder in source.parents:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(source, target)

        monkeypatch.setattr(os, "replace", full)
        journal = UploadJournal(folder, OBJECT, tmp_path / "fallback")
        journal.intend()
        journal.record("MmJi")
        journal.forget()
        assert os.listdir(tmp_path / "fallback") == os.listdir(folder) == []

    def test_a_home_that_may_not_be_searched_does_not_stop_an_upload(self, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir(mode=0)
        journal = UploadJournal(tmp_path, OBJECT, tmp_path / "home" / "uploads")

        def run() -> None:
            assert journal.upload_id() is None
            assert not journal.begun
            journal.intend()
            assert journal.intended
            journal.record("MmJi")
            assert journal.upload_id() == "MmJi"
            journal.forget()
            assert not journal.begun

        unprivileged(run)

    def test_a_file_in_the_way_of_the_state_does_not_stop_an_upload(self, tmp_path: Path) -> None:
        (tmp_path / f".{OBJECT}").touch()
        journal = UploadJournal(tmp_path, OBJECT, tmp_path / "fallback")
        journal.record("MmJi")
        assert journal.upload_id() == "MmJi"

    def test_no_place_at_all_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        journal = UploadJournal(tmp_path / "file", OBJECT, tmp_path / "file" / "fallback")
        with pytest.raises(ScoreError, match=r"fallback.*--state-dir"):
            journal.intend()


class TestDownload:
    @pytest.fixture
    def journal(self, tmp_path: Path) -> DownloadJournal:
        return DownloadJournal(tmp_path, OBJECT)

    def test_places_and_forms_are_the_references(self, journal: DownloadJournal, tmp_path: Path) -> None:
        journal.begin(SPECIFICATION)
        journal.record(SPECIFICATION.parts[0].changed(md5="2557a14c4f749712fcad6370054035bc"))
        journal.record(SPECIFICATION.parts[1].changed(md5="0" * 32))
        folder = tmp_path / f".{OBJECT}"
        assert journal.data == tmp_path / OBJECT
        assert sorted(os.listdir(folder)) == ["about", "meta", "part-00000001", "part-0000000a"]
        assert json.loads((folder / "meta").read_bytes()) == META
        recorded = json.loads((folder / "part-00000001").read_bytes())
        assert recorded == META["parts"][0] | {"md5": "2557a14c4f749712fcad6370054035bc", "url": None}  # type: ignore[index]

    def test_what_the_reference_left_is_gone_on_with(self, journal: DownloadJournal, tmp_path: Path) -> None:
        folder = tmp_path / f".{OBJECT}"
        folder.mkdir()
        (folder / "meta").write_text(json.dumps(META))
        (folder / "part-00000001").write_text(json.dumps(META["parts"][0] | {"md5": "abc"}))  # type: ignore[index]
        assert journal.specification() == SPECIFICATION
        (part,) = parts(journal)
        assert (part.part_number, part.md5, part.source_md5) == (1, "abc", "2557a14c4f749712fcad6370054035bc")

    def test_nothing_was_begun(self, journal: DownloadJournal) -> None:
        assert journal.specification() is None
        assert journal.finished() == {}
        assert not journal.begun

    @pytest.mark.parametrize("text", [b"", b"{", b"null", b"\xff\xfe", b'{"objectId": "x"}', b"[]"])
    def test_a_damaged_specification_is_none(self, journal: DownloadJournal, tmp_path: Path, text: bytes) -> None:
        (tmp_path / f".{OBJECT}").mkdir()
        (tmp_path / f".{OBJECT}" / "meta").write_bytes(text)
        assert journal.specification() is None
        assert journal.begun

    @pytest.mark.parametrize("text", [b"", b"{", b"null", b"\xff\xfe", b'{"partNumber": 2}'])
    def test_a_damaged_record_is_a_part_that_is_not_finished(
        self, journal: DownloadJournal, tmp_path: Path, text: bytes
    ) -> None:
        journal.begin(SPECIFICATION)
        journal.record(SPECIFICATION.parts[0])
        (tmp_path / f".{OBJECT}" / "part-00000002").write_bytes(text)
        (tmp_path / f".{OBJECT}" / "part-00000003").mkdir()
        assert [part.part_number for part in parts(journal)] == [1]

    def test_of_an_object_of_one_part_only_the_beginning_is_kept(self, tmp_path: Path) -> None:
        said: list[str] = []
        journal = DownloadJournal(tmp_path, OBJECT, said.append)
        one = SPECIFICATION.with_parts(SPECIFICATION.parts[:1])
        journal.begin(one)
        journal.record(one.parts[0])
        journal.keep_etag("e")
        assert list((tmp_path / f".{OBJECT}").iterdir()) == []
        later = DownloadJournal(tmp_path, OBJECT, said.append)
        assert later.begun
        assert later.specification() is None
        assert not said

    def test_a_specification_that_is_missing_is_told(self, tmp_path: Path) -> None:
        said: list[str] = []
        journal = DownloadJournal(tmp_path, OBJECT, said.append)
        journal.begin(SPECIFICATION)
        (tmp_path / f".{OBJECT}" / "meta").unlink()
        assert journal.specification() is None
        assert ["is missing" in line for line in said] == [True]

    def test_a_part_can_be_dropped(self, journal: DownloadJournal) -> None:
        journal.begin(SPECIFICATION)
        for part in SPECIFICATION.parts:
            journal.record(part)
        journal.drop(10)
        journal.drop(10)
        assert [part.part_number for part in parts(journal)] == [1]

    def test_a_new_beginning_drops_what_was_kept(self, journal: DownloadJournal) -> None:
        journal.begin(SPECIFICATION)
        journal.record(SPECIFICATION.parts[0])
        journal.data.write_bytes(b"old")
        journal.begin(SPECIFICATION)
        assert journal.finished() == {}
        assert not journal.data.exists()

    def test_the_bytes_stay_when_a_download_is_over(self, journal: DownloadJournal, tmp_path: Path) -> None:
        journal.begin(SPECIFICATION)
        journal.data.write_bytes(b"bytes")
        journal.forget()
        assert os.listdir(tmp_path) == [OBJECT]

    def test_a_crash_between_two_names_of_the_bytes_is_made_up_for(
        self, journal: DownloadJournal, tmp_path: Path
    ) -> None:
        """A file that is moved to a free place has two names for a moment."""
        place, alone = tmp_path / "a.bam", tmp_path / f".{OBJECT}.part"
        for path in (journal.data, alone):
            path.write_bytes(b"bytes")
            journal.finish_move(place, None)
            assert path.exists(), "nothing was moved"
            os.link(path, place)
            journal.finish_move(place, tmp_path / f".{OBJECT}.lock" if path == alone else None)
            assert path.exists(), "nothing of it was begun, or nothing is gathered there"
            if path == journal.data:
                journal.begin(SPECIFICATION, keep=True)
                journal.finish_move(path, None)
                assert path.exists(), "it is in its place"
            journal.finish_move(place, None)
            assert not path.exists()
            assert place.read_bytes() == b"bytes"
            place.unlink()

    def test_signed_urls_are_for_their_owner_only(self, journal: DownloadJournal, tmp_path: Path) -> None:
        journal.begin(SPECIFICATION)
        assert (tmp_path / f".{OBJECT}" / "meta").stat().st_mode & 0o077 == 0

    def test_a_folder_that_cannot_be_written_to_is_named(self, tmp_path: Path) -> None:
        folder = tmp_path / "out"
        folder.mkdir(mode=0o555)

        def run() -> None:
            with pytest.raises(Refused, match=rf"out/\.{OBJECT}: Permission denied"):
                DownloadJournal(folder, OBJECT).begin(SPECIFICATION)

        unprivileged(run)

    def test_a_folder_in_the_place_of_the_bytes_is_named(self, journal: DownloadJournal) -> None:
        journal.data.mkdir()
        with pytest.raises(ScoreError, match=OBJECT):
            journal.begin(SPECIFICATION)

    def test_an_output_folder_that_is_gone_is_named(self, tmp_path: Path) -> None:
        journal = DownloadJournal(tmp_path / "out", OBJECT)
        journal.begin(SPECIFICATION)
        journal.forget()
        (tmp_path / "out").rmdir()
        with pytest.raises(NotFound, match="part-00000001"):
            journal.record(SPECIFICATION.parts[0])

    def test_a_record_is_whole_or_not_there(self, journal: DownloadJournal, tmp_path: Path) -> None:
        """Killed between the writing of a record and its taking effect: what lies beside it does no harm."""
        journal.begin(SPECIFICATION)
        (tmp_path / f".{OBJECT}" / "part-00000001.new").write_bytes(b'{"partNumber": 1, "partSi')
        (tmp_path / f".{OBJECT}" / "meta.new").write_bytes(b"{")
        assert journal.finished() == {}
        assert journal.specification() == SPECIFICATION
        journal.record(SPECIFICATION.parts[0])
        assert [part.part_number for part in parts(journal)] == [1]


def test_a_record_that_never_came_to_its_place_is_none(tmp_path: Path) -> None:
    """It is written beside its place first: what is left there counts for nothing, whole or not."""
    journal = DownloadJournal(tmp_path, OBJECT)
    journal.begin(SPECIFICATION)
    (tmp_path / f".{OBJECT}" / "part-00000001").mkdir()
    with pytest.raises(ScoreError):
        journal.record(SPECIFICATION.parts[0])
    assert journal.finished() == {}


class TestStateThatCannotBeUsed:
    """It is told of, and counts as none; what other versions left is read as far as they say that it can be."""

    @pytest.fixture
    def said(self) -> list[str]:
        return []

    def about(self, folder: Path, **changes: object) -> None:
        (folder / f".{OBJECT}" / "about").write_text(
            json.dumps({"version": 1, "readable": 1, "object": OBJECT} | changes)
        )

    def test_it_says_of_which_version_and_object_it_is(self, tmp_path: Path) -> None:
        DownloadJournal(tmp_path, OBJECT).begin(SPECIFICATION)
        UploadJournal(tmp_path / "up", OBJECT, tmp_path / "fallback").record("an-upload")
        for folder in (tmp_path, tmp_path / "up"):
            path = folder / f".{OBJECT}" / "about"
            found = json.loads(path.read_bytes())
            assert (found["version"], found["readable"], found["object"]) == (1, 1, OBJECT)
            assert path.stat().st_mode & 0o077 == 0

    def test_a_newer_version_that_can_still_be_read_is_read(self, tmp_path: Path, said: list[str]) -> None:
        journal = DownloadJournal(tmp_path, OBJECT, said.append)
        journal.begin(SPECIFICATION)
        self.about(tmp_path, version=7, more={"of": "it"})
        assert journal.specification() == SPECIFICATION
        assert said == []

    @pytest.mark.parametrize(
        "changes, says", [({"version": 2, "readable": 2}, "newer version"), ({"object": "other"}, "another object")]
    )
    def test_what_is_not_for_us_is_left_aside(
        self, tmp_path: Path, said: list[str], changes: dict[str, object], says: str
    ) -> None:
        download = DownloadJournal(tmp_path, OBJECT, said.append)
        download.begin(SPECIFICATION)
        self.about(tmp_path, **changes)
        assert download.specification() is None
        upload = UploadJournal(tmp_path / "up", OBJECT, tmp_path / "fallback", said.append)
        upload.record("MmJi")
        self.about(tmp_path / "up", **changes)
        assert upload.upload_id() is None
        assert [says in line and OBJECT in line for line in said] == [True, True]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "null",
            '{"version": 1}',
            '{"readable": "x", "object": 1}',
            '{"readable": 1e999, "object": 1}',
            pytest.param("[" * 100_000, id="deep"),
        ],
    )
    def test_a_damaged_mark_is_no_loss(self, tmp_path: Path, said: list[str], text: str) -> None:
        journal = DownloadJournal(tmp_path, OBJECT, said.append)
        journal.begin(SPECIFICATION)
        (tmp_path / f".{OBJECT}" / "about").write_text(text)
        assert UploadJournal(tmp_path, OBJECT, tmp_path / "fallback").md5() == ""
        assert journal.specification() == SPECIFICATION
        assert ["damaged" in line for line in said] == [True]

    def test_a_specification_of_another_object_is_none(self, tmp_path: Path, said: list[str]) -> None:
        journal = DownloadJournal(tmp_path, OBJECT, said.append)
        journal.begin(SPECIFICATION.changed(object_id="5c0eca11-0000-4000-8000-000000000099"))
        assert journal.specification() is None
        assert ["another object, 5c0eca11-0000-4000-8000-000000000099" in line for line in said] == [True]

    def test_what_is_cut_short_is_told(self, tmp_path: Path, said: list[str]) -> None:
        journal = DownloadJournal(tmp_path, OBJECT, said.append)
        journal.begin(SPECIFICATION)
        for part in SPECIFICATION.parts:
            journal.record(part)
        for name in ("part-00000001", "meta"):
            path = tmp_path / f".{OBJECT}" / name
            path.write_bytes(path.read_bytes()[:20])
        assert [part.part_number for part in parts(journal)] == [10]
        assert journal.specification() is None
        assert "a record of a finished part is damaged" in said[0]
        assert "meta is damaged" in said[1]

    def test_nothing_begun_is_nothing_to_tell(self, tmp_path: Path, said: list[str]) -> None:
        assert DownloadJournal(tmp_path, OBJECT, said.append).specification() is None
        assert UploadJournal(tmp_path, OBJECT, tmp_path / "fallback", said.append).upload_id() is None
        assert said == []

    def test_a_folder_of_somebody_else_is_named_with_what_to_do(self, tmp_path: Path) -> None:
        state = tmp_path / f".{OBJECT}"
        state.mkdir()
        (state / "meta").touch()
        state.chmod(0o500)

        def run() -> None:
            with pytest.raises(Refused, match="Use a folder that is yours"):
                DownloadJournal(tmp_path, OBJECT).begin(SPECIFICATION)

        unprivileged(run)


def test_what_a_transfer_cannot_do_without_gets_to_the_disk_while_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a power cut leaves no empty file. Of the rest a few parts are moved again at worst."""
    lasting: set[int] = set()
    slow = threading.Event()
    sync = os.fsync

    def noted(descriptor: int) -> None:
        assert slow.wait(60)
        sync(descriptor)
        lasting.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    upload = UploadJournal(tmp_path / "up", OBJECT, tmp_path / "fallback")
    upload.intend()
    upload.record("MmJi", "77af7bd4d2e09a88ee103dc9724f36e5")
    download = DownloadJournal(tmp_path, OBJECT)
    download.begin(SPECIFICATION)
    download.keep_etag('"abc"')
    download.record(SPECIFICATION.parts[0])
    slow.set()
    for thread in threading.enumerate():
        if thread.name == "state":
            thread.join()
    there = {path.stat().st_ino: path.name for path in tmp_path.rglob("*")}
    assert {there[number] for number in lasting} == {"uploadId", "meta"}
