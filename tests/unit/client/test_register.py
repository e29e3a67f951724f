"""Registering a folder of files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from score.client.calls import Song
from score.client.client import Client
from score.client.manifest_source import Source
from score.client.manifests import parse_upload
from score.client.register import file_type, find_files, register
from score.errors import Cancelled, Conflict, Invalid, NotFound, Refused, ScoreError, Unavailable
from score.protocol.parts import MIB
from score.testing.faults import Answer, LoseResponse
from score.testing.score import FaultyScore
from score.testing.song import FakeSong
from score.transfer.events import Checked, Ended, Planned

ANALYSIS = "6d732a42-da6c-40a6-b32a-42da6c50a61c"
IDS = {
    name: f"5c0eca11-0000-4000-8000-{number:012}" for number, name in enumerate(("a.bam", "a.bam.bai", "r 1.fq.gz"))
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in IDS:
        (folder / name).write_bytes(name.encode())
    (folder / ".hidden").touch()
    (folder / "below").mkdir()
    (folder / "below" / "deep.bam").touch()
    return folder


def answer(document: object) -> Answer:
    return Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})


def script(song: FakeSong, *, studies: object = ("TEST-CA",), submitted: object = None, files: object = None) -> None:
    """Let the registry answer so."""
    records = [{"fileName": name, "objectId": object_id, "fileSize": 1} for name, object_id in IDS.items()]
    song.traffic.inject(answer(studies), path="/studies/all")
    song.traffic.inject(Answer(200), method="POST", path="/studies/")
    song.traffic.inject(answer(submitted or {"analysisId": ANALYSIS, "status": "OK"}), path="/submit/")
    song.traffic.inject(answer(records if files is None else files), path="/files", times=None)


def test_the_files_of_a_folder_become_an_analysis_and_a_manifest(
    client: Client, song: FakeSong, folder: Path
) -> None:
    script(song)
    seen: list[Path] = []
    done = register(client, "TEST-CA", find_files(folder), "controlled", seen.append)
    assert done.analysis_id == ANALYSIS
    assert sorted(path.name for path in seen) == sorted(IDS)
    (submitted,) = song.traffic.seen(path="/submit/TEST-CA")
    payload = json.loads(submitted.body)
    assert payload["studyId"] == "TEST-CA"
    assert payload["files"][0] == {
        "fileName": "a.bam",
        "fileSize": 5,
        "fileMd5sum": hashlib.md5(b"a.bam").hexdigest(),
        "fileAccess": "controlled",
        "fileType": "BAM",
        "dataType": "BAM",
    }
    read = parse_upload(Source.of(done.manifest.text().encode(), "manifest", Path("/elsewhere")))
    assert (read.analysis_id, list(read.entries)) == (done.analysis_id, list(done.manifest.entries))
    assert [entry.path for entry in read.entries] == [folder / name for name in sorted(IDS)]
    assert not [exchange for exchange in song.traffic.seen(method="POST") if "/studies/" in exchange.path]


def test_it_is_told_how_far_the_checksums_are(
    client: Client, song: FakeSong, site: FaultyScore, folder: Path
) -> None:
    (folder / "a.bam").write_bytes(bytes(3 * MIB + 5))
    script(song)
    register(client, "TEST-CA", find_files(folder), "open")
    name = str(folder / "a.bam")
    assert {event.item: event.size for event in site.heard.of(Planned)}[name] == 3 * MIB + 5
    read = [event.count for event in site.heard.of(Checked) if event.item == name]
    assert (sum(read), len(read) > 1) == (3 * MIB + 5, True)
    assert sorted(event.item for event in site.heard.of(Ended)) == [str(folder / name) for name in sorted(IDS)]


def test_a_wish_to_stop_ends_it(client: Client, song: FakeSong, folder: Path) -> None:
    script(song)
    client.cancel()
    with pytest.raises(Cancelled):
        register(client, "TEST-CA", find_files(folder), "open")
    assert song.traffic.seen(method="POST") == []


def test_a_new_study_is_made(client: Client, song: FakeSong, folder: Path) -> None:
    script(song, studies=["OTHER"])
    register(client, "TEST-CA", find_files(folder), "open")
    (made,) = song.traffic.seen(method="POST", path="^/studies/TEST-CA/$")
    assert json.loads(made.body)["studyId"] == "TEST-CA"


def test_a_registry_that_is_away_is_noticed_before_anything_is_hashed(
    client: Client, song: FakeSong, folder: Path
) -> None:
    song.traffic.inject(Answer(503), path="/studies/all", times=None)
    with pytest.raises(Unavailable):
        register(client, "TEST-CA", find_files(folder), "open", lambda path: pytest.fail(f"{path} was hashed"))


def test_a_study_that_somebody_else_made_meanwhile_will_do(client: Client, song: FakeSong, folder: Path) -> None:
    song.traffic.inject(Answer(409), method="POST", path="/studies/")
    script(song, studies=[])
    song.traffic.inject(answer(["TEST-CA"]), path="/studies/all")
    assert register(client, "TEST-CA", find_files(folder), "open").analysis_id == ANALYSIS


def test_a_study_that_cannot_be_is_refused_before_anything_is_hashed(
    client: Client, song: FakeSong, folder: Path
) -> None:
    song.traffic.inject(Answer(400, b'{"message":"\'S 8\' is not a study id."}'), method="POST", path="/studies/")
    script(song)
    with pytest.raises(Invalid, match="'S 8' is not a study id") as caught:
        register(client, "S 8", find_files(folder), "open", lambda path: pytest.fail(f"{path} was hashed"))
    assert "--study-id" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"studies": {"message": "hello"}},
        {"studies": [1]},
        {"submitted": ["x"]},
        {"submitted": {"status": "OK"}},
        {"files": {"error": "x"}},
        {"files": ["x"]},
    ],
    ids=str,
)
def test_a_registry_that_answers_nonsense_is_told_as_such(
    client: Client, song: FakeSong, folder: Path, change: dict[str, object]
) -> None:
    script(song, **change)
    with pytest.raises(Unavailable, match="the answer makes no sense"):
        register(client, "TEST-CA", find_files(folder), "open")


@pytest.mark.parametrize("reply", [Answer.garbage(), Answer(200, b"\xff\xfe"), Answer(200)], ids=repr)
def test_a_registry_that_is_none_is_told_as_such(client: Client, song: FakeSong, folder: Path, reply: Answer) -> None:
    song.traffic.inject(reply, times=None)
    with pytest.raises(Unavailable, match="the answer makes no sense"):
        register(client, "TEST-CA", find_files(folder), "open")
    with pytest.raises(Unavailable, match="the answer makes no sense"):
        client.song.publish("TEST-CA", ANALYSIS)


def test_a_file_that_the_registry_forgot_is_named(client: Client, song: FakeSong, folder: Path) -> None:
    script(song, files=[{"fileName": "a.bam", "objectId": IDS["a.bam"]}])
    with pytest.raises(Refused, match=r"without a\.bam\.bai, r 1\.fq\.gz"):
        register(client, "TEST-CA", find_files(folder), "open")


def test_a_refusal_carries_the_registrys_words(client: Client, song: FakeSong, folder: Path) -> None:
    song.traffic.inject(Answer(409, b'{"message":"[SubmitService::duplicate] - known md5"}'), path="/submit/")
    script(song)
    with pytest.raises(Conflict, match="known md5"):
        register(client, "TEST-CA", find_files(folder), "open")


def test_a_registry_that_is_away_for_a_moment_after_the_submission_is_asked_again(
    client: Client, song: FakeSong, folder: Path
) -> None:
    song.traffic.inject(Answer(503), path="/files")
    script(song)
    assert register(client, "TEST-CA", find_files(folder), "open").analysis_id == ANALYSIS
    assert len(song.traffic.seen(path="/submit/")) == 1


def test_a_registry_that_is_away_after_the_submission_does_not_keep_its_id_secret(
    client: Client, song: FakeSong, folder: Path
) -> None:
    song.traffic.inject(Answer(503), path="/files", times=None)
    script(song)
    with pytest.raises(Unavailable, match=f"; the files are registered as analysis {ANALYSIS}") as caught:
        register(client, "TEST-CA", find_files(folder), "open")
    assert f"upload --study-id TEST-CA --analysis-id {ANALYSIS} --dir {folder} needs no manifest" in caught.value.hint


def test_a_command_that_is_proposed_can_be_pasted_whatever_the_folder_is_called(
    client: Client, song: FakeSong, folder: Path
) -> None:
    folder = folder.rename(folder.with_name("run 7 (new)"))
    song.traffic.inject(Answer(503), path="/files", times=None)
    script(song)
    with pytest.raises(Unavailable) as caught:
        register(client, "TEST-CA", find_files(folder), "open")
    words = shlex.split(caught.value.hint.removesuffix(" needs no manifest."))
    assert words[-2:] == ["--dir", str(folder)]


def test_a_submission_whose_answer_is_lost_is_told_as_one_that_may_have_been_made(
    client: Client, song: FakeSong, folder: Path
) -> None:
    song.traffic.inject(LoseResponse(), path="/submit/")
    script(song)
    with pytest.raises(Unavailable) as caught:
        register(client, "TEST-CA", find_files(folder), "open")
    assert caught.value.hint.startswith("They may be registered all the same.")


class TestFiles:
    def test_plain_files_of_the_folder_itself(self, folder: Path) -> None:
        assert [path.name for path in find_files(folder)] == sorted(IDS)

    def test_what_is_no_folder_of_files(self, tmp_path: Path, folder: Path) -> None:
        with pytest.raises(Invalid, match="is a file"):
            find_files(folder / "a.bam")
        with pytest.raises(NotFound, match="missing"):
            find_files(tmp_path / "missing")
        (tmp_path / "empty").mkdir()
        with pytest.raises(NotFound, match="holds no files"):
            find_files(tmp_path / "empty")

    def test_the_manifest_that_is_going_to_be_written_is_none_of_them(self, folder: Path) -> None:
        (folder / "manifest.txt").write_text(f"{ANALYSIS}\t\t\n")
        (folder / "link.bam").symlink_to(folder / "a.bam")
        found = find_files(folder, folder.parent / "files" / ".." / "files" / "manifest.txt")
        assert [path.name for path in found] == ["a.bam", "a.bam.bai", "link.bam", "r 1.fq.gz"]
        assert len(find_files(folder, folder / "absent.txt")) == 5

    @pytest.mark.parametrize("name", ["a\tb.bam", "a\nb.bam", "a.bam ", "a.bam\xa0", os.fsdecode(b"\xff.bam")])
    def test_a_name_that_no_manifest_can_hold(self, folder: Path, name: str) -> None:
        (folder / name).touch()
        with pytest.raises(Invalid, match="a name that no manifest can hold"):
            find_files(folder)

    def test_blanks_of_every_kind_are_parts_of_names(self, folder: Path) -> None:
        (folder / "a\u202fb\xa0c.bam").touch()
        assert "a\u202fb\xa0c.bam" in [path.name for path in find_files(folder)]

    @pytest.mark.parametrize("name", ["of a run\n", "a\tb", os.fsdecode(b"\xe9")], ids=repr)
    def test_a_folder_that_no_manifest_can_name(self, folder: Path, name: str) -> None:
        odd = folder.rename(folder.parent / name)
        with pytest.raises(Invalid, match="a path that no manifest can hold"):
            find_files(odd)
        (odd.parent / "plain").mkdir()
        (odd.parent / "plain" / "a.bam").symlink_to(odd / "a.bam")
        with pytest.raises(Invalid, match="a path that no manifest can hold"):
            find_files(odd.parent / "plain")

    def test_pipes_are_not_waited_for(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        assert "pipe" not in [path.name for path in find_files(folder)]

    def test_a_file_that_goes_away_is_named(
        self, make_client: Callable[..., Client], song: FakeSong, folder: Path
    ) -> None:
        script(song)
        client = make_client(parallel=1)

        def hashed(path: Path) -> None:
            for other in folder.glob("*.gz"):
                other.unlink()

        with pytest.raises(ScoreError, match="fq"):
            register(client, "TEST-CA", find_files(folder), "open", hashed)

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("a.bam", "BAM"),
            ("A.BAM", "BAM"),
            ("a.bam.bai", "BAI"),
            ("a.vcf.gz", "VCF"),
            ("a.vcf.gz.tbi", "TBI"),
            ("r_1.fastq.gz", "FASTQ"),
            ("r.fq.bz2", "FASTQ"),
            ("a.txt", "TXT"),
            ("README", "UNKNOWN"),
            ("a.gz", "UNKNOWN"),
        ],
    )
    def test_the_type_of_a_file_is_read_off_its_name(self, name: str, kind: str) -> None:
        assert file_type(name) == kind


def test_what_song_says_of_a_publication_is_passed_on(client: Client, song: FakeSong) -> None:
    song.traffic.inject(answer({"message": "AnalysisId x successfully published"}), method="PUT")
    assert isinstance(client.song, Song)
    assert client.song.publish("TEST-CA", ANALYSIS) == "AnalysisId x successfully published"
    (asked,) = song.traffic.seen(method="PUT")
    assert asked.path == f"/studies/TEST-CA/analysis/publish/{ANALYSIS}"
    song.traffic.inject(Answer(409, b'{"message":"missing objects"}'), method="PUT")
    with pytest.raises(Conflict, match="missing objects"):
        client.song.publish("TEST-CA", ANALYSIS)


def test_ids_are_never_more_than_one_segment_of_a_path(client: Client, song: FakeSong) -> None:
    song.traffic.inject(Answer(404), times=None)
    with pytest.raises(NotFound):
        client.song.publish("TEST-CA?x=#", "a?b=c")
    (asked,) = song.traffic.seen()
    assert asked.path == "/studies/TEST-CA?x=#/analysis/publish/a?b=c"  # as the fake decodes it
    for text in ("../../upload/x", "TEST/CA", ".", ".."):
        for call in (client.song.publish, client.song.files, client.song.document):
            with pytest.raises(Invalid, match=re.escape(f"{text!r} is the id of no")):
                call(text, ANALYSIS)
    assert song.traffic.seen() == [asked]
