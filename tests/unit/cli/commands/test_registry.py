"""``score-client register`` and ``publish``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from score.testing.faults import Answer, LoseResponse, Reset
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from ..conftest import ANALYSIS, CLIENT, DATA, MD5, OBJECT, Run


def prepare(folder: Path, song: FakeSong) -> None:
    """A folder ``in`` with one file, and a registry that takes it."""
    (folder / "in").mkdir()
    (folder / "in" / "a.bam").write_bytes(DATA)
    answers = {
        "/studies/all": ["S"],
        "/submit/": {"analysisId": ANALYSIS},
        "/files": [{"fileName": "a.bam", "objectId": OBJECT}],
    }
    for path, document in answers.items():
        song.traffic.inject(Answer(200, json.dumps(document).encode()), path=path)


def uploaded(song: FakeSong, site: FaultyScore) -> None:
    """An analysis of one file that is in the store, for Song to find it there."""
    file = song.register("a.bam", analysis=ANALYSIS, study="S", size=len(DATA), md5=MD5)
    site.fake.add(file.object_id, DATA)
    song.score_url = site.url


class TestRegistry:
    @pytest.mark.parametrize(
        "words",
        [
            ["register", "--study-id", "S", "--dir", "in", "--manifest", "m.txt"],
            ["publish", "--study-id", "S", "--analysis-id", ANALYSIS],
        ],
        ids=lambda words: words[0],
    )
    def test_what_to_do_where_it_is_away(self, run: Run, folder: Path, song: FakeSong, words: list[str]) -> None:
        (folder / "in").mkdir()
        (folder / "in" / "a.bam").write_bytes(DATA)
        song.traffic.inject(Reset(), times=None)
        status, out, err = run(*words)
        assert (status, out) == (5, "")
        assert "Run the same command again later" in err
        assert "score-client check tells what is away." in err
        assert not (folder / "m.txt").exists()

    @pytest.mark.parametrize("flag", ["", "--quiet", "--silent"])
    def test_how_much_is_said(self, run: Run, folder: Path, song: FakeSong, flag: str) -> None:
        prepare(folder, song)
        words = ["register", "--study-id", "S", "--dir", "in", "--manifest", "m 1.txt"]
        status, out, err = run(*words, *flag.split())
        assert (status, out) == (0, f"{ANALYSIS}\n")
        assert ("in/a.bam: checksum known" in err) is not bool(flag)
        assert ("1 file registered" in err) is (flag != "--silent")
        assert ("Next: score-client upload --manifest 'm 1.txt'" in err) is (flag != "--silent")

    @pytest.mark.parametrize(("limit", "status", "said"), [(True, 3, "File too large"), (False, 10, "No space left")])
    def test_a_manifest_that_the_disk_has_no_room_for(
        self, folder: Path, song: FakeSong, limit: bool, status: int, said: str
    ) -> None:
        prepare(folder, song)
        if not limit:
            (folder / "m.txt").symlink_to("/dev/full")
        words = [*CLIENT, "register", "--study-id", "S", "--dir", "in", "--manifest", "m.txt"]
        script = f'{"ulimit -f 0;" if limit else ""} exec "$@"'
        ended = subprocess.run(
            ["sh", "-c", script, "sh", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert (ended.returncode, ended.stdout) == (status, "")
        assert f"m.txt: {said}" in ended.stderr
        assert f"; the files are registered as analysis {ANALYSIS}." in ended.stderr
        assert (
            f"score-client upload --study-id S --analysis-id {ANALYSIS} --dir in needs no manifest." in ended.stderr
        )
        assert (folder / "m.txt").is_symlink() is not limit
        assert not (folder / "m.txt").is_file()

    def test_an_id_that_the_disk_has_no_room_for(self, folder: Path, song: FakeSong) -> None:
        """Whoever ran the command again would register another analysis."""
        prepare(folder, song)
        words = [*CLIENT, "--silent", "register", "--study-id", "S", "--dir", "in", "--manifest", "m.txt"]
        with open("/dev/full", "wb") as full:
            ended = subprocess.run(
                words, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
            )
        assert ended.returncode == 10
        hint = f"Analysis {ANALYSIS} is registered: score-client upload --manifest m.txt goes on."
        assert ended.stderr == f"Error: Standard output: No space left on device.\n{hint}\n"

    def test_a_manifest_that_cannot_be_written_registers_nothing(
        self, run: Run, folder: Path, song: FakeSong
    ) -> None:
        (folder / "in").mkdir()
        (folder / "in" / "a.bam").write_bytes(b"x")
        for name in ("missing/m.txt", "in"):
            status, out, err = run("register", "--study-id", "S", "--dir", "in", "--manifest", name)
            assert status != 0
            assert out == ""
            assert name in err
        assert song.traffic.seen() == []
        assert os.listdir(folder / "in") == ["a.bam"]

    def test_a_failed_registration_leaves_no_manifest(self, run: Run, folder: Path, song: FakeSong) -> None:
        (folder / "in").mkdir()
        (folder / "in" / "a.bam").write_bytes(b"x")
        song.traffic.inject(Answer(503), times=None)
        status, out, _ = run("register", "--study-id", "S", "--dir", "in", "--manifest", "m.txt")
        assert (status, out) == (5, "")
        assert not (folder / "m.txt").exists()

    @pytest.mark.parametrize(
        ("during", "said"),
        [
            ("/submit/", "Interrupted while the files were being registered. They may be registered all the same."),
            ("/files", f"Interrupted; the files are registered as analysis {ANALYSIS}. score-client upload"),
        ],
    )
    def test_an_interruption_says_what_may_be_registered(
        self, folder: Path, song: FakeSong, during: str, said: str
    ) -> None:
        (folder / "in").mkdir()
        (folder / "in" / "a.bam").write_bytes(b"x")
        gate = song.traffic.hold(path=during)
        for path, document in {"/studies/all": ["S"], "/submit/": {"analysisId": ANALYSIS, "status": "OK"}}.items():
            song.traffic.inject(Answer(200, json.dumps(document).encode()), path=path)
        words = [*CLIENT, "register", "--study-id", "S", "--dir", "in", "--manifest", "m.txt"]
        with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True) as client:
            gate.wait_for_arrival()
            client.send_signal(signal.SIGTERM)
            assert client.stderr is not None
            assert said in client.stderr.read().replace("\n", " ")
        assert client.returncode == 130
        assert not (folder / "m.txt").exists()

    def test_publishing(self, run: Run, folder: Path, song: FakeSong) -> None:
        song.register("a.bam", analysis=ANALYSIS, study="S")
        song.set_state(ANALYSIS, "PUBLISHED")
        song.traffic.inject(Answer(200, b'{"message":"\\u001b[2Jpublished\\n"}'), method="PUT")
        status, out, err = run("publish", "--study-id", "S", "--analysis-id", ANALYSIS)
        assert (status, out, err) == (0, "", "[2Jpublished\n")
        song.traffic.inject(Answer(409, b'{"message":"missing.storage.objects"}'), method="PUT")
        status, _, err = run("publish", "--study-id", "S", "--analysis-id", ANALYSIS)
        assert status == 3
        assert "missing.storage.objects" in err
        assert "Upload the files that are named" in err
        song.traffic.inject(Answer(409, b'{"message":"The analysis is not related to the studyId"}'), method="PUT")
        _, _, err = run("publish", "--study-id", "storage", "--analysis-id", ANALYSIS)
        assert "Upload the files" not in err, "none is named"

    @pytest.mark.parametrize("body", [b"{}", b'{"message":"AnalysisId x successfully published"}'])
    def test_nothing_is_told_as_published_that_is_not(
        self, run: Run, folder: Path, song: FakeSong, body: bytes
    ) -> None:
        """Another service may answer so; and somebody may have taken the analysis back."""
        song.register("a.bam", analysis=ANALYSIS, study="S")
        song.traffic.inject(Answer(200, body), method="PUT")
        status, _, err = run("publish", "--study-id", "S", "--analysis-id", ANALYSIS)
        assert status == 3
        assert f"Analysis {ANALYSIS} is not published" in err
        assert "successfully" not in err

    def test_a_publication_whose_answer_is_lost(
        self, run: Run, folder: Path, song: FakeSong, site: FaultyScore
    ) -> None:
        """A proxy in between may wait for less time than Song needs for many files, each time."""
        uploaded(song, site)
        song.traffic.inject(LoseResponse(), method="PUT", times=None)
        status, _, err = run("publish", "--study-id", "S", "--analysis-id", ANALYSIS)
        assert (status, err) == (0, f"Analysis {ANALYSIS} is published.\n")
        assert len(song.traffic.seen(method="PUT")) == 1

    def test_a_publication_is_asked_for_again_where_that_may_help(
        self, run: Run, folder: Path, song: FakeSong, site: FaultyScore
    ) -> None:
        uploaded(song, site)
        song.traffic.inject(Answer(502), method="PUT")
        status, _, err = run("publish", "--study-id", "S", "--analysis-id", ANALYSIS)
        assert status == 0
        assert song.state(ANALYSIS) == "PUBLISHED"
        assert "the server answered 502" in err
