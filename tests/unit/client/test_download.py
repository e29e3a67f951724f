"""Downloading objects: where they land, what is kept between runs, and what counts as verified."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from score.client.client import Client
from score.client.layout import Layout
from score.client.outcome import Outcome, State
from score.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    Forbidden,
    Integrity,
    Invalid,
    NoSpace,
    NotFound,
    Refused,
    ScoreError,
    Unauthenticated,
    Unavailable,
)
from score.protocol.wire import Specification, to_json
from score.testing.faults import Answer, Flip
from score.testing.privileges import unprivileged
from score.testing.score import FaultyScore
from score.testing.song import FakeSong
from score.transfer.budget import FILES
from score.transfer.events import Checked, Ended, Note, Planned
from score.transfer.journal import UploadJournal

ANALYSIS = "a11aca11-0000-4000-8000-000000000020"
OBJECT = "5c0eca11-0000-4000-8000-000000000020"
INDEX = "5c0eca11-0000-4000-8000-000000000021"
OTHER = "5c0eca11-0000-4000-8000-000000000022"
PART = 64 * 1024
DATA = random.Random(3).randbytes(5 * PART + 1000)
MD5 = hashlib.md5(DATA).hexdigest()
MakeClient = Callable[..., Client]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def registered(site: FaultyScore, song: FakeSong) -> None:
    song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT)
    site.fake.add(OBJECT, DATA)


def fetch(client: Client, out: Path, *ids: str, **options: object) -> list[Outcome]:
    return client.download(ids or [OBJECT], out, **options)  # type: ignore[arg-type]


def failure(client: Client, out: Path, *ids: str, **options: object) -> ScoreError:
    """The error with which the download of one object ended."""
    (outcome,) = fetch(client, out, *ids, **options)
    assert outcome.state is State.FAILED
    assert outcome.error is not None
    return outcome.error


def interrupt(client: Client, site: FaultyScore, out: Path, *, finished: int = 3, **options: object) -> set[str]:
    """Leave a download behind of which so many parts are finished, as a kill would; their ranges."""
    site.traffic.inject(Answer(400), path="/store/", skip=finished, times=None)
    assert isinstance(failure(client, out, **options), Refused)
    site.traffic.heal()
    done = {e.range for e in site.traffic.seen(path="/store/", status=206)}
    assert len(done) == finished
    site.traffic.forget()
    return done


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


class TestPlaces:
    @pytest.mark.parametrize(
        ("layout", "place"), [(Layout.FILENAME, "a.bam"), (Layout.BUNDLE, f"{ANALYSIS}/a.bam"), (Layout.ID, OBJECT)]
    )
    def test_each_layout(self, client: Client, out: Path, layout: Layout, place: str) -> None:
        assert fetch(client, out, layout=layout) == [Outcome(OBJECT, State.DOWNLOADED, out / place, len(DATA), MD5)]
        assert (out / place).read_bytes() == DATA
        assert [name for name in files(out) if name != ANALYSIS] == [place]

    @pytest.mark.parametrize("layout", list(Layout))
    def test_it_is_resumed_in_each_layout(self, client: Client, site: FaultyScore, out: Path, layout: Layout) -> None:
        done = interrupt(client, site, out, layout=layout)
        (outcome,) = fetch(client, out, layout=layout)
        assert outcome.state is State.DOWNLOADED
        assert outcome.path is not None
        assert outcome.path.read_bytes() == DATA
        assert not set(site.gets) & done
        assert len(site.gets) == 3

    @pytest.mark.parametrize("layout", list(Layout))
    def test_unfinished_bytes_are_never_taken_for_the_object(
        self, client: Client, site: FaultyScore, out: Path, layout: Layout
    ) -> None:
        interrupt(client, site, out, layout=layout, validate=False)
        (outcome,) = fetch(client, out, layout=layout, validate=False)
        assert outcome.state is State.UNVERIFIED
        assert outcome.path is not None
        assert outcome.path.read_bytes() == DATA

    @pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "a\\b", "..", ""])
    def test_a_name_that_leads_elsewhere_is_refused(
        self, client: Client, song: FakeSong, out: Path, tmp_path: Path, name: str
    ) -> None:
        song.register(name, analysis=ANALYSIS, object_id=OBJECT)
        error = failure(client, out)
        assert isinstance(error, Invalid)
        assert files(tmp_path) == ["out"]
        assert fetch(client, out, layout=Layout.ID, index=False)[0].state is State.DOWNLOADED

    @pytest.mark.parametrize("suffix", ["", ".lock", ".owner", ".part", ".done"])
    @pytest.mark.parametrize("data", [DATA, b"small"])
    def test_a_name_of_the_state_of_a_transfer_is_refused(
        self, client: Client, site: FaultyScore, song: FakeSong, out: Path, suffix: str, data: bytes
    ) -> None:
        """What lies there is removed when the transfer ends."""
        site.fake.add(OBJECT, data)
        for name, analysis in ((f".{OBJECT}{suffix}", ANALYSIS), ("a.bam", f".{OBJECT}{suffix}")):
            song.register(name, analysis=analysis, object_id=OBJECT)
            client.catalog._entities.clear()
            error = failure(client, out, layout=Layout.BUNDLE, force=True, index=False)
            assert isinstance(error, Invalid)
            assert "the file could be lost" in error.message
        assert files(out) == []

    def test_a_name_that_is_too_long_is_refused_before_a_byte_moves(
        self, client: Client, song: FakeSong, site: FaultyScore, out: Path
    ) -> None:
        song.register("x" * 300, analysis=ANALYSIS, object_id=OBJECT)
        assert isinstance(failure(client, out), Refused)
        assert site.gets == []

    def test_two_objects_of_one_name_never_overwrite_one_another(
        self, client: Client, site: FaultyScore, song: FakeSong, out: Path
    ) -> None:
        song.register("a.bam", analysis=ANALYSIS, object_id=OTHER)
        site.fake.add(OTHER, DATA[::-1])
        outcomes = fetch(client, out, OBJECT, OTHER)
        assert sorted(outcome.state for outcome in outcomes) == [State.DOWNLOADED, State.FAILED]
        assert any(isinstance(outcome.error, Conflict) for outcome in outcomes)
        (good,) = [outcome for outcome in outcomes if outcome.good]
        assert hashlib.md5((out / "a.bam").read_bytes()).hexdigest() == good.md5

    def test_a_name_that_is_the_id_of_another_object_is_no_way_to_its_bytes(
        self, client: Client, site: FaultyScore, song: FakeSong, out: Path
    ) -> None:
        song.register(OBJECT, analysis=ANALYSIS, object_id=OTHER)
        site.fake.add(OTHER, b"other")
        outcomes = fetch(client, out, OBJECT, OTHER)
        assert [type(outcome.error) for outcome in outcomes if not outcome.good] == [Conflict]

    def test_an_output_folder_that_cannot_be_made_is_named(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(ScoreError, match=str(path)):
                fetch(client, path)

    def test_an_output_folder_that_cannot_be_written_to_is_named(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        for mode in (0o555, 0o444):
            out.mkdir(mode=mode)
            error = unprivileged(lambda: failure(client, out))
            assert isinstance(error, Refused)
            assert "Permission denied" in error.message
            out.rmdir()
        assert site.gets == []

    def test_a_disk_that_is_too_small_is_seen_before_a_byte_moves(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        specification = {
            "objectKey": "k",
            "objectId": OBJECT,
            "uploadId": "u",
            "objectSize": 10**18,
            "parts": [{"partNumber": 1, "partSize": 10**18, "offset": 0, "url": "http://x/", "md5": None}],
        }
        site.traffic.inject(Answer(200, json.dumps(specification).encode()), path="/download/")
        assert isinstance(failure(client, out), NoSpace)
        assert not (out / OBJECT).exists()


class TestExisting:
    def test_the_same_file_is_already_there(self, client: Client, site: FaultyScore, out: Path) -> None:
        fetch(client, out)
        site.traffic.forget()
        site.heard.forget()
        assert fetch(client, out) == [Outcome(OBJECT, State.PRESENT, out / "a.bam", len(DATA), MD5)]
        assert [event.size for event in site.heard.of(Planned)] == [len(DATA)]
        assert sum(event.count for event in site.heard.of(Checked)) == len(DATA), "it is told that it is read"
        assert {event.item for event in site.heard.of(Checked)} == {str(out / "a.bam")}
        assert site.gets == []

    @pytest.mark.parametrize("layout", list(Layout))
    def test_so_it_is_in_every_layout(self, client: Client, site: FaultyScore, out: Path, layout: Layout) -> None:
        fetch(client, out, layout=layout)
        site.traffic.forget()
        assert fetch(client, out, layout=layout)[0].state is State.PRESENT
        assert site.gets == []

    @pytest.mark.parametrize(
        ("data", "says"),
        [(DATA[:-1], "bytes instead of"), (DATA[::-1], "with other contents"), (b"", "with 0 bytes")],
    )
    def test_another_file_is_not_replaced(self, client: Client, out: Path, data: bytes, says: str) -> None:
        out.mkdir()
        (out / "a.bam").write_bytes(data)
        error = failure(client, out)
        assert isinstance(error, AlreadyExists)
        assert says in error.message
        assert "--force" in error.hint
        assert (out / "a.bam").read_bytes() == data

    @pytest.mark.parametrize("layout", list(Layout))
    def test_with_force_it_is_replaced(self, client: Client, out: Path, layout: Layout) -> None:
        (outcome,) = fetch(client, out, layout=layout)
        assert outcome.path is not None
        outcome.path.write_bytes(b"other")
        assert fetch(client, out, layout=layout, force=True)[0].state is State.DOWNLOADED
        assert outcome.path.read_bytes() == DATA

    @pytest.mark.parametrize("kind", ["folder", "link to nothing", "pipe"])
    def test_whatever_is_there_is_not_touched(self, client: Client, site: FaultyScore, out: Path, kind: str) -> None:
        out.mkdir()
        match kind:
            case "folder":
                (out / "a.bam").mkdir()
            case "link to nothing":
                (out / "a.bam").symlink_to("nowhere")
            case _:
                os.mkfifo(out / "a.bam")
        assert isinstance(failure(client, out), AlreadyExists)
        assert site.gets == []

    def test_a_link_to_the_same_bytes_will_do(self, client: Client, out: Path, tmp_path: Path) -> None:
        out.mkdir()
        (tmp_path / "real.bam").write_bytes(DATA)
        (out / "a.bam").symlink_to(tmp_path / "real.bam")
        assert fetch(client, out)[0].state is State.PRESENT

    def test_a_file_whose_md5_nobody_knows_is_not_taken_for_the_object(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        site.fake.add(OBJECT, DATA, whole_md5=False)
        fetch(client, out)
        error = failure(client, out)
        assert isinstance(error, AlreadyExists)
        assert "no MD5 is known" in error.message

    def test_an_earlier_download_by_id_is_not_lost(self, client: Client, out: Path) -> None:
        """It lies where the bytes of a download are gathered."""
        fetch(client, out, layout=Layout.ID)
        error = failure(client, out, layout=Layout.FILENAME)
        assert isinstance(error, AlreadyExists)
        assert OBJECT in error.message
        assert (out / OBJECT).read_bytes() == DATA
        assert fetch(client, out, layout=Layout.FILENAME, force=True)[0].state is State.DOWNLOADED


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


class TestProof:
    def test_a_flipped_byte_is_fetched_again(self, client: Client, site: FaultyScore, out: Path) -> None:
        site.traffic.inject(Flip(5), range=f"bytes={PART}-")
        assert fetch(client, out)[0].state is State.DOWNLOADED
        assert (out / "a.bam").read_bytes() == DATA
        assert len(site.gets) == 7

    def test_what_nobody_can_prove_is_said_to_be_unverified(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        site.fake.add(OBJECT, DATA, whole_md5=False, part_md5s=False)
        assert fetch(client, out)[0].state is State.UNVERIFIED

    def test_the_md5s_of_the_parts_are_a_proof(self, client: Client, site: FaultyScore, out: Path) -> None:
        site.fake.add(OBJECT, DATA, whole_md5=False)
        assert fetch(client, out)[0].state is State.DOWNLOADED

    def test_md5s_in_capitals_are_the_same(self, client: Client, site: FaultyScore, out: Path) -> None:
        parts = [
            part.changed(source_md5=(part.source_md5 or "").upper()) for part in site.fake.download_parts(OBJECT)
        ]
        made = Specification(
            object_key="k",
            object_id=OBJECT,
            upload_id="u",
            parts=parts,
            object_size=len(DATA),
            object_md5=MD5.upper(),
        )
        site.traffic.inject(Answer(200, to_json(made)), path="/download/")
        assert fetch(client, out)[0].state is State.DOWNLOADED

    def test_an_object_that_is_not_what_is_registered_does_not_take_its_place(
        self, client: Client, site: FaultyScore, out: Path
    ) -> None:
        site.fake.objects[OBJECT].md5 = "0" * 32
        assert isinstance(failure(client, out), Integrity)
        assert not (out / "a.bam").exists()

    @pytest.mark.parametrize(
        "change",
        [
            {"objectSize": len(DATA) + 1},
            {"objectSize": len(DATA) - 1},
            {"parts": []},
            {"objectSize": -1},
        ],
        ids=str,
    )
    def test_a_specification_that_contradicts_itself_is_refused(
        self, client: Client, site: FaultyScore, out: Path, change: dict[str, object]
    ) -> None:
        made = Specification(
            object_key="k",
            object_id=OBJECT,
            upload_id="u",
            parts=site.fake.download_parts(OBJECT),
            object_size=len(DATA),
        )
        document = json.loads(to_json(made)) | change
        site.traffic.inject(Answer(200, json.dumps(document).encode()), path="/download/")
        error = failure(client, out)
        assert isinstance(error, Refused)
        assert "contradicts itself" in error.message

    def test_an_empty_object_works(self, client: Client, site: FaultyScore, out: Path) -> None:
        site.fake.add(OBJECT, b"")
        assert fetch(client, out)[0].state is State.DOWNLOADED
        assert (out / "a.bam").read_bytes() == b""

    def test_the_store_never_sees_the_token(self, client: Client, site: FaultyScore, out: Path) -> None:
        fetch(client, out)
        token = client.settings.token
        assert all(token not in str(exchange.headers) for exchange in site.traffic.seen(path="/store/"))
        assert all(token in str(exchange.headers) for exchange in site.traffic.seen(path="/download/"))


class TestRanges:
    def test_a_range_lands_alone(self, client: Client, site: FaultyScore, out: Path) -> None:
        (outcome,) = fetch(client, out, offset=100, length=1000, layout=Layout.ID, index=False)
        assert (outcome.state, outcome.size) == (State.UNVERIFIED, 1000)
        assert (out / OBJECT).read_bytes() == DATA[100:1100]
        (asked,) = site.traffic.seen(path="/download/")
        assert asked.query == "offset=100&length=1000"
        assert site.gets == ["bytes=100-1099"]

    @pytest.mark.parametrize(
        ("offset", "length", "data"), [(5, -1, DATA[5:]), (0, 2 * PART, DATA[: 2 * PART]), (7, 0, b"")]
    )
    def test_ranges_of_all_kinds(self, client: Client, out: Path, offset: int, length: int, data: bytes) -> None:
        assert fetch(client, out, offset=offset, length=length)[0].good
        assert (out / "a.bam").read_bytes() == data

    def test_a_range_is_no_continuation_of_the_whole(self, client: Client, site: FaultyScore, out: Path) -> None:
        interrupt(client, site, out)
        assert fetch(client, out, offset=5, length=10)[0].good
        assert (out / "a.bam").read_bytes() == DATA[5:15]


class TestSeveral:
    @pytest.fixture(autouse=True)
    def more(self, site: FaultyScore, song: FakeSong, registered: None) -> None:
        song.register("a.bam.bai", analysis=ANALYSIS, object_id=INDEX)
        site.fake.add(INDEX, b"index")

    def test_the_index_comes_along(self, client: Client, out: Path) -> None:
        outcomes = fetch(client, out)
        assert sorted(outcome.object_id for outcome in outcomes) == [OBJECT, INDEX]
        assert files(out) == ["a.bam", "a.bam.bai"]

    def test_it_is_not_older_than_its_data(self, client: Client, out: Path) -> None:
        """Tools that read it warn of that, or refuse it."""
        fetch(client, out, INDEX, OBJECT)
        assert (out / "a.bam.bai").stat().st_mtime_ns >= (out / "a.bam").stat().st_mtime_ns

    def test_it_stays_where_it_is_not_wanted(self, client: Client, song: FakeSong, out: Path) -> None:
        assert [outcome.object_id for outcome in fetch(client, out, index=False)] == [OBJECT]
        assert song.traffic.seen(path="/entities$") == []

    @pytest.mark.parametrize("name", ["A.BAM.BAI", "a.bam.crai", "a.bam.tbi", "a.bam.idx"])
    def test_it_is_known_by_its_name(self, client: Client, song: FakeSong, out: Path, name: str) -> None:
        song.register(name, analysis=ANALYSIS, object_id=INDEX)
        assert {outcome.path for outcome in fetch(client, out)} == {out / name, out / "a.bam"}

    def test_it_is_fetched_once_where_it_is_named_too(self, client: Client, site: FaultyScore, out: Path) -> None:
        outcomes = fetch(client, out, INDEX, OBJECT, OBJECT)
        assert sorted(outcome.object_id for outcome in outcomes) == [OBJECT, INDEX]
        assert len(site.traffic.seen(path=f"/store/{INDEX}")) == 1

    def test_an_index_that_fails_does_not_stop_its_object(self, client: Client, site: FaultyScore, out: Path) -> None:
        del site.fake.objects[INDEX]
        outcomes = {outcome.object_id: outcome for outcome in fetch(client, out)}
        assert outcomes[OBJECT].state is State.DOWNLOADED
        assert outcomes[INDEX].path == out / "a.bam.bai"
        assert isinstance(outcomes[INDEX].error, NotFound)

    def test_one_that_fails_does_not_stop_the_rest_and_is_named(
        self, client: Client, site: FaultyScore, song: FakeSong, out: Path
    ) -> None:
        song.register("b.bam", analysis=ANALYSIS, object_id=OTHER)
        missing = "dead0000-0000-4000-8000-000000000001"
        outcomes = fetch(client, out, missing, OTHER, OBJECT, index=False)
        assert [outcome.state for outcome in outcomes] == [State.FAILED, State.FAILED, State.DOWNLOADED]
        assert [outcome.object_id for outcome in outcomes] == [missing, OTHER, OBJECT]
        assert all(isinstance(outcome.error, NotFound) for outcome in outcomes[:2])
        assert outcomes[1].path == out / "b.bam"
        ended = {event.item: event.state for event in site.heard.of(Ended)}
        assert ended == {missing: "failed", str(out / "b.bam"): "failed", str(out / "a.bam"): "downloaded"}

    def test_what_all_would_meet_ends_the_rest_at_once(
        self, client: Client, site: FaultyScore, song: FakeSong, out: Path
    ) -> None:
        song.traffic.inject(Answer(401), times=None)
        ids = [f"5c0eca11-0000-4000-8000-{number:012}" for number in range(50)]
        outcomes = fetch(client, out, *ids)
        assert all(isinstance(outcome.error, Unauthenticated) for outcome in outcomes)
        assert len(song.traffic.seen()) <= FILES * client.settings.parallel < len(ids)

    def test_an_analysis_is_asked_for_by_its_study(self, client: Client, song: FakeSong) -> None:
        assert sorted(client.analysis("TEST-CA", ANALYSIS)) == [OBJECT, INDEX]
        (asked,) = song.traffic.seen()
        assert asked.query == f"gnosId={ANALYSIS}&projectCode=TEST-CA&size=2000&page=0"

    def test_an_analysis_that_is_not_there(self, client: Client) -> None:
        with pytest.raises(NotFound, match="has no analysis") as caught:
            client.analysis("TEST-CA", OBJECT)
        assert "METADATA_URL" in caught.value.hint


class TestServerErrors:
    @pytest.mark.parametrize(
        ("answer", "kind", "says"),
        [
            (Answer(400, b'{"message":"The analysis is not published."}'), Conflict, "not published"),
            (Answer(403, b"Token missing required scope to download"), Forbidden, "Token missing"),
            (Answer(404), NotFound, "404"),
            (Answer(500), Refused, "500"),
            (Answer(503), Unavailable, "gave up after 3 tries"),
            (Answer.garbage(), Unavailable, "makes no sense"),
        ],
        ids=repr,
    )
    def test_each_has_its_error(
        self, client: Client, site: FaultyScore, out: Path, answer: Answer, kind: type[ScoreError], says: str
    ) -> None:
        site.traffic.inject(answer, path="/download/", times=None)
        error = failure(client, out)
        assert type(error) is kind or isinstance(error, kind)
        assert says in error.message

    @pytest.mark.parametrize("token", ["", "720dffc1-628f-49f2-992f-f09b8ba2ae2a"])
    def test_who_has_no_token_is_told_where_to_set_it(
        self, make_client: MakeClient, site: FaultyScore, out: Path, token: str
    ) -> None:
        site.traffic.inject(Answer(403, b"Token missing required scope to download"), path="/download/")
        error = failure(make_client(token=token), out)
        assert ("No access token is set: ACCESSTOKEN" in error.hint) is not bool(token)

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (Answer(404), NotFound),
            (Answer(500), Refused),
            (Answer.garbage(), Unavailable),
            (Answer(200, b"[]"), Unavailable),
            (Answer(200, b'{"id":"\xff"}'), Unavailable),
            (Answer(200, json.dumps({"id": OTHER, "gnosId": ANALYSIS}).encode()), Refused),
        ],
        ids=repr,
    )
    def test_a_registry_that_answers_nonsense(
        self, client: Client, song: FakeSong, out: Path, answer: Answer, kind: type[ScoreError]
    ) -> None:
        song.traffic.inject(answer, times=None)
        assert isinstance(failure(client, out), kind)

    def test_pages_without_end_come_to_an_end(self, client: Client, song: FakeSong) -> None:
        page = {"content": [{"id": OBJECT, "gnosId": ANALYSIS}], "last": False}
        song.traffic.inject(Answer(200, json.dumps(page).encode()), times=None)
        assert client.analysis("TEST-CA", ANALYSIS) == [OBJECT]

    def test_all_pages_are_read(self, client: Client, song: FakeSong) -> None:
        for ids, last in (([OBJECT, OTHER], False), ([OTHER, INDEX], True)):
            page = {"content": [{"id": i, "gnosId": ANALYSIS} for i in ids], "last": last}
            song.traffic.inject(Answer(200, json.dumps(page).encode()))
        assert client.analysis("TEST-CA", ANALYSIS) == [OBJECT, OTHER, INDEX]


class TestConnection:
    def test_profile_and_sentinel(self, client: Client, site: FaultyScore) -> None:
        assert client.connect() == "s3"
        assert [e.path for e in site.traffic.seen()] == ["/profile", "/download/ping", "/store/heliograph"]
        site.traffic.forget()
        client.connect(verify=False)
        assert [e.path for e in site.traffic.seen()] == ["/profile"]

    def test_a_server_that_wants_a_token_for_its_profile(self, client: Client, site: FaultyScore) -> None:
        site.traffic.inject(Answer(401), path="/profile")
        assert client.connect() == "s3"

    def test_which_may_be_another_by_the_settings(
        self, make_client: MakeClient, site: FaultyScore, tmp_path: Path
    ) -> None:
        """Blocks and their list go to Azure, where parts would go to S3."""
        site.traffic.inject(Answer(401), path="/profile", times=None)
        (tmp_path / "a.bam").write_bytes(DATA)
        client = make_client(default_profile="az")
        with suppress(ScoreError):  # this store is none of Azure
            client.upload(tmp_path / "a.bam", "5c0eca11-0000-4000-8000-0000000000ff")
        assert any("comp=block" in exchange.query for exchange in site.traffic.seen(method="PUT"))

    @pytest.mark.parametrize("text", [b"gcs", b"<html><body>Welcome</body></html>", b"", b"\xff\xfe"])
    def test_a_store_of_another_kind(self, client: Client, site: FaultyScore, text: bytes) -> None:
        site.traffic.inject(Answer(200, text), path="/profile")
        with pytest.raises(Refused, match="keeps its objects in a store of kind"):
            client.connect()

    @pytest.mark.parametrize("answer", [Answer.denied(), Answer(503)], ids=repr)
    def test_a_store_that_cannot_be_reached(self, client: Client, site: FaultyScore, answer: Answer) -> None:
        site.traffic.inject(answer, path="/store/heliograph", times=None)
        with pytest.raises(Unavailable, match="object store cannot be reached from here") as caught:
            client.connect()
        assert "--verify-connection" in caught.value.hint
        assert "Signature" not in str(caught.value)

    def test_a_store_without_sentinel(self, client: Client, site: FaultyScore) -> None:
        site.traffic.inject(Answer(404), path="/store/heliograph", times=None)
        with pytest.raises(Refused, match="no such object to test with") as caught:
            client.connect()
        assert "sentinel" in caught.value.hint

    @pytest.mark.parametrize("text", [b"<html><body>Welcome</body></html>" * 1000, b"", b"http://[::1", b"\xff\xfe"])
    def test_a_ping_that_is_no_address(self, client: Client, site: FaultyScore, text: bytes) -> None:
        site.traffic.inject(Answer(200, text), path="/download/ping", times=None)
        with pytest.raises(Invalid, match="not an address") as caught:
            client.connect()
        assert len(caught.value.message) < 200

    def test_a_url_for_any_client(self, client: Client, site: FaultyScore) -> None:
        assert client.url(OBJECT).startswith(f"{site.url}/store/{OBJECT}?Expires=")
        (asked,) = site.traffic.seen(path="/download/")
        assert asked.query == "offset=0&length=-1&external=true"
        with pytest.raises(Invalid):
            client.url("x")
