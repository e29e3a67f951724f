"""Downloads that were interrupted, and objects that are replaced in between or meanwhile."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.layout import Layout
from score.client.outcome import Outcome, State
from score.errors import AlreadyExists, Cancelled, Conflict, ScoreError
from score.protocol.wire import Specification, to_json
from score.testing.faults import Answer, CutResponse
from score.testing.score import FaultyScore
from score.transfer.events import Note, Planned
from score.transfer.journal import UploadJournal

from .conftest import DATA, MD5, OBJECT, PART, MakeClient, failure, fetch, files, interrupt


class TestResuming:
    def test_finished_parts_are_not_fetched_again(self, client: Client, site: FaultyScore, out: Path) -> None:
        done = interrupt(client, site, out)
        assert sorted(files(out))[:4] == [f".{OBJECT}", *(f".{OBJECT}/{name}" for name in ("about", "etag", "meta"))]
        fetch(client, out)
        assert not set(site.gets) & done
        assert files(out) == ["a.bam"]
        planned = site.heard.of(Planned)[-1]
        assert (planned.parts, planned.done_parts) == (6, 3)

    @pytest.mark.parametrize("whole_md5", [True, False])
    def test_bytes_that_changed_on_the_disk_since_are_fetched_again(
        self, client: Client, site: FaultyScore, out: Path, whole_md5: bool
    ) -> None:
        site.fake.add(OBJECT, DATA, whole_md5=whole_md5)
        done = interrupt(client, site, out)
        with (out / OBJECT).open("r+b") as file:
            for name in done:
                file.seek(int(name.removeprefix("bytes=").split("-")[0]))
                file.write(b"damage")
        assert fetch(client, out)[0].state is State.DOWNLOADED
        assert (out / "a.bam").read_bytes() == DATA
        assert done <= set(site.gets)

    @pytest.mark.parametrize("loss", ["data", "meta", "part", "folder"])
    def test_whatever_is_lost_in_between_is_made_up_for(
        self, client: Client, site: FaultyScore, out: Path, loss: str
    ) -> None:
        interrupt(client, site, out)
        match loss:
            case "data":
                (out / OBJECT).unlink()
            case "meta":
                (out / f".{OBJECT}" / "meta").write_bytes(b"{")
            case "part":
                for path in (out / f".{OBJECT}").glob("part-*"):
                    path.write_bytes(b"{")
            case _:
                for path in (out / f".{OBJECT}").iterdir():
                    path.unlink()
        assert fetch(client, out)[0].state is State.DOWNLOADED
        assert (out / "a.bam").read_bytes() == DATA
        assert len(site.gets) == 6

    @pytest.mark.parametrize("loss", ["replaced", "data"])
    def test_it_is_told_why_it_starts_over(self, client: Client, site: FaultyScore, out: Path, loss: str) -> None:
        interrupt(client, site, out)
        if loss == "data":
            (out / OBJECT).unlink()
        else:
            site.fake.add(OBJECT, DATA[::-1])
        fetch(client, out)
        (note,) = site.heard.of(Note)
        assert ("are gone" if loss == "data" else "another version of the object") in note.text
        assert note.text.endswith("; starting over")

    def test_bytes_without_checksums_of_nobody_knows_which_object_are_of_no_use(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        """The ETag is what told, and is lost after a power cut, or was never kept by the reference."""
        site.fake.add(OBJECT, DATA, whole_md5=False, part_md5s=False)
        interrupt(client, site, out)
        (out / f".{OBJECT}" / "etag").unlink()
        site.fake.add(OBJECT, DATA[::-1], whole_md5=False, part_md5s=False)
        assert fetch(client, out)[0].state is State.UNVERIFIED
        assert (out / "a.bam").read_bytes() == DATA[::-1]

    def test_parts_beyond_the_end_of_a_file_that_was_cut_are_fetched_without_validation_too(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        interrupt(client, site, out, validate=False)
        os.truncate(out / OBJECT, PART + 1)
        fetch(client, out, validate=False)
        assert (out / "a.bam").read_bytes() == DATA

    @pytest.mark.parametrize("layout", list(Layout))
    def test_the_state_of_an_upload_in_the_same_folder_is_left_alone(
        self, client: Client, site: FaultyScore, out: Path, layout: Layout
    ) -> None:
        UploadJournal(out, OBJECT, out / "fallback").record("MmJi", MD5)
        about = (out / f".{OBJECT}" / "about").read_bytes()
        done = interrupt(client, site, out, layout=layout)
        (outcome,) = fetch(client, out, layout=layout)
        assert outcome.state is State.DOWNLOADED
        assert not set(site.gets) & done
        assert sorted(os.listdir(out / f".{OBJECT}")) == ["about", "uploadId"]
        assert (out / f".{OBJECT}" / "about").read_bytes() == about
        assert UploadJournal(out, OBJECT, out / "fallback").upload_id() == "MmJi"

    @pytest.mark.parametrize("state", ["uploadId", "starting"])
    @pytest.mark.parametrize("layout", list(Layout))
    def test_nor_does_it_make_a_file_an_unfinished_download(
        self, client: Client, site: FaultyScore, out: Path, layout: Layout, state: str
    ) -> None:
        """A file that is named by its id, whose upload was interrupted."""
        journal = UploadJournal(out, OBJECT, out / "fallback")
        journal.record("MmJi") if state == "uploadId" else journal.intend()
        (out / OBJECT).write_bytes(b"the only copy")
        assert isinstance(failure(client, out, layout=layout), AlreadyExists)
        assert (out / OBJECT).read_bytes() == b"the only copy"

    def test_what_the_reference_left_is_gone_on_with(self, client: Client, site: FaultyScore, out: Path) -> None:
        stored = site.fake.objects[OBJECT]
        folder = out / f".{OBJECT}"
        folder.mkdir(parents=True)
        made = Specification(
            object_key=f"data/{OBJECT}",
            object_id=OBJECT,
            upload_id=stored.upload_id,
            parts=site.fake.download_parts(OBJECT),
            object_size=len(DATA),
            object_md5=MD5,
        )
        (folder / "meta").write_text(json.dumps(json.loads(to_json(made)), indent=2))
        with (out / OBJECT).open("wb") as file:
            file.truncate(len(DATA))
            for part in made.parts[:4]:
                file.seek(part.offset)
                file.write(DATA[part.offset : part.span.end])
                document = to_json(part.changed(md5=part.source_md5)).decode()
                (folder / f"part-{part.part_number:08x}").write_text(document)
        fetch(client, out)
        assert (out / "a.bam").read_bytes() == DATA
        assert site.gets == [made.parts[4].span.http_range, made.parts[5].span.http_range]

    @pytest.mark.parametrize("size", [0, 1000, len(DATA)])
    def test_of_a_longer_object_that_took_its_place_no_piece_is_taken_for_it(
        self, client: Client, site: FaultyScore, out: Path, size: int
    ) -> None:
        """One without any MD5, replaced between the server's answer and the first byte of the store's."""
        site.fake.add(OBJECT, DATA[:size], whole_md5=False, part_md5s=False)
        gate = site.traffic.hold(path="/store/")
        transfer = client.begin(client.download, [OBJECT], out)
        gate.wait_for_arrival()
        site.fake.add(OBJECT, DATA + DATA, whole_md5=False, part_md5s=False)
        site.traffic.heal()
        (outcome,) = transfer.result()
        assert isinstance(outcome.error, Conflict)
        assert "was replaced in the store" in outcome.error.message
        assert not (out / "a.bam").exists()

    def test_new_urls_of_another_object_are_not_used(
        self, make_client: MakeClient, site: FaultyScore, out: Path
    ) -> None:
        """Also where nothing but the server tells them apart: without MD5s, and perhaps without ETags."""
        site.fake.add(OBJECT, DATA, whole_md5=False, part_md5s=False)
        gate = site.traffic.hold(path="/store/", skip=1)
        client = make_client(parallel=1)
        transfer = client.begin(client.download, [OBJECT], out)
        gate.wait_for_arrival()
        site.fake.add(OBJECT, DATA[::-1] + b"x", whole_md5=False, part_md5s=False)
        site.fake.expire()
        site.traffic.heal()
        (outcome,) = transfer.result()
        assert isinstance(outcome.error, Conflict)
        assert "was replaced in the store" in outcome.error.message
        assert [exchange.status for exchange in site.traffic.seen(path="/store/")] == [206, 403]

    def test_an_object_that_was_replaced_in_between_is_fetched_anew(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        interrupt(client, site, out)
        site.fake.add(OBJECT, DATA[::-1])
        assert fetch(client, out)[0].state is State.DOWNLOADED
        assert (out / "a.bam").read_bytes() == DATA[::-1]
        assert len(site.gets) == 6

    def test_an_object_of_other_bytes_and_the_same_description_is_fetched_anew(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        """The parts and MD5s that the server tells of are those of before, but not the object in the store."""
        interrupt(client, site, out)
        stored = site.fake.objects[OBJECT]
        assert (out / f".{OBJECT}" / "etag").read_text() == f'"{stored.etag}"'
        site.fake.objects[OBJECT] = dataclasses.replace(stored, etag="another")
        assert fetch(client, out)[0].state is State.DOWNLOADED
        assert (out / "a.bam").read_bytes() == DATA
        got = [one for one in site.traffic.seen(path="/store/") if one.status == 206]
        assert sorted(one.headers["range"] for one in got)[:6] == sorted(set(site.gets)), "all of it"
        notes = [note.text for note in site.heard.of(Note)]
        assert "the object was replaced since its download was begun; starting over" in notes

    @pytest.mark.parametrize("kept", [b"", b"\xff\xfe", b'"a"\r\nX-Evil: 1', b"x" * 10_000])
    def test_an_etag_that_is_none_stands_in_nobodys_way(
        self, client: Client, site: FaultyScore, out: Path, kept: bytes
    ) -> None:
        interrupt(client, site, out)
        (out / f".{OBJECT}" / "etag").write_bytes(kept)
        assert fetch(client, out)[0].state is State.DOWNLOADED
        assert (out / "a.bam").read_bytes() == DATA

    def test_an_object_that_is_replaced_meanwhile_is_not_mixed(
        self, make_client: MakeClient, site: FaultyScore, out: Path
    ) -> None:
        """Its URLs expire too: those of the new object must not be used for the old one's parts."""
        client = make_client(parallel=1)
        gate = site.traffic.hold(path="/store/", skip=3)
        ends: list[ScoreError] = []
        thread = threading.Thread(target=lambda: ends.append(failure(client, out)))
        thread.start()
        gate.wait_for_arrival()
        site.fake.add(OBJECT, DATA[::-1])
        site.fake.expire()
        site.traffic.heal()
        thread.join()
        assert isinstance(ends[0], Conflict)
        assert "replaced in the store" in ends[0].message
        assert len(site.traffic.seen(path="/store/", status=206)) == 3
        assert not (out / "a.bam").exists()

    def test_a_wish_to_stop_keeps_what_is_finished(
        self, make_client: MakeClient, site: FaultyScore, out: Path
    ) -> None:
        client = make_client(parallel=1)
        gate = site.traffic.hold(path="/store/", after=1000, skip=3)
        ends: list[ScoreError] = []

        def run() -> None:
            try:
                fetch(client, out)
            except Cancelled as error:
                ends.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        gate.wait_for_arrival()
        client.stop.set()
        site.traffic.heal()
        thread.join()
        assert len(ends) == 1
        assert "Run the same command again" in ends[0].hint
        kept = len(list((out / f".{OBJECT}").glob("part-*")))
        site.traffic.forget()
        assert fetch(make_client(), out)[0].state is State.DOWNLOADED
        assert len(site.gets) == 6 - kept

    @pytest.mark.parametrize("given", ["the rest", "another range", "nothing"])
    def test_a_part_that_is_cut_short(self, client: Client, site: FaultyScore, out: Path, given: str) -> None:
        """The server gives a URL for its rest; where it gives another one the part is fetched anew by its own."""
        cut, rest = f"bytes={PART}-{2 * PART - 1}", f"offset={PART + 1000}&length={PART - 1000}"
        site.traffic.inject(CutResponse(1000), range=cut)
        if given != "the rest":
            parts = [] if given == "nothing" else site.fake.download_parts(OBJECT)
            wrong = Specification(OBJECT, OBJECT, OBJECT, parts, PART - 1000)
            site.traffic.inject(Answer(200, to_json(wrong)), path=f"/download/{OBJECT}", query=rest)
        assert fetch(client, out)[0].good
        assert (out / "a.bam").read_bytes() == DATA
        assert site.traffic.seen(path=f"/download/{OBJECT}", query=rest)
        assert site.gets.count(cut) == (1 if given == "the rest" else 2)

    def test_two_processes_in_one_folder_never_leave_a_wrong_file(
        self, make_client: MakeClient, site: FaultyScore, out: Path
    ) -> None:
        results: list[Outcome] = []
        threads = [threading.Thread(target=lambda: results.extend(fetch(make_client(), out))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if any(outcome.good for outcome in results):
            assert (out / "a.bam").read_bytes() == DATA
        assert len(results) == 3
        assert fetch(make_client(), out)[0].good
        assert (out / "a.bam").read_bytes() == DATA
