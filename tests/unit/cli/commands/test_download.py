"""``score-client download``: its options, and with which status it ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from score.testing.faults import Answer
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from ..conftest import ANALYSIS, DATA, OBJECT, OTHER, PART, Run


class TestDownload:
    @pytest.mark.parametrize(
        "words",
        [
            ["--object-id", OBJECT, OTHER],
            ["--object-id", OBJECT, "--object-id", OTHER],
            ["--object-id", OBJECT, OTHER, OBJECT],
            [f"--object-id={OBJECT}", OTHER],
            [f"--object-id={OBJECT},{OTHER}"],
            ["--analysis-id", ANALYSIS, "--study-id", "TEST-CA"],
            ["--analysis-id", ANALYSIS, "--program-id", "TEST-CA"],
        ],
    )
    def test_objects_are_named_in_many_ways(self, run: Run, folder: Path, registered: None, words: list[str]) -> None:
        status, out, err = run("download", *words, "--output-dir", "out")
        assert (status, out) == (0, "")
        assert (folder / "out" / "a.bam").read_bytes() == DATA
        assert (folder / "out" / "b.bam").read_bytes() == b"other"
        assert "2 files: 2 downloaded" in err

    def test_ids_may_come_before_other_options(self, run: Run, folder: Path, registered: None) -> None:
        words = ["--object-id", OBJECT, OTHER, "--output-dir", "out", "--index", "false", "--validate", "true"]
        assert run("download", *words)[0] == 0
        assert sorted(os.listdir(folder / "out")) == ["a.bam", "b.bam"]

    @pytest.mark.parametrize(
        ("layout", "name"), [("bundle", f"{ANALYSIS}/a.bam"), ("id", OBJECT), ("FILENAME", "a.bam")]
    )
    def test_layouts(self, run: Run, folder: Path, registered: None, layout: str, name: str) -> None:
        assert run("download", "--object-id", OBJECT, "--output-dir", "out", "--output-layout", layout)[0] == 0
        assert (folder / "out" / name).read_bytes() == DATA

    def test_a_range(self, run: Run, folder: Path, registered: None, song: FakeSong, site: FaultyScore) -> None:
        """Of the object alone: bytes of its index at those places are of no use."""
        index = song.register("a.bam.bai", analysis=ANALYSIS)
        site.fake.add(index.object_id, DATA)
        words = ["--object-id", OBJECT, "--output-dir", "out", "--offset", "100", "--length", "1000"]
        status, _, err = run("download", *words)
        assert status == 0
        assert "not verified" in err
        assert (folder / "out" / "a.bam").read_bytes() == DATA[100:1100]
        assert os.listdir(folder / "out") == ["a.bam"]

    def test_a_manifest(self, run: Run, folder: Path, registered: None) -> None:
        (folder / "m.tsv").write_text(f"\ufeffrepo_code\tobject_id\r\n\r\naws\t{OBJECT}\r\n", "utf-8")
        assert run("download", "--manifest", "m.tsv", "--output-dir", "out")[0] == 0
        assert (folder / "out" / "a.bam").read_bytes() == DATA

    def test_an_object_that_nobody_knows_is_no_success(self, run: Run, folder: Path) -> None:
        status, _, err = run("download", "--object-id", OBJECT, "--output-dir", "out")
        assert status == 4
        assert OBJECT in err

    def test_again_means_already_there(self, run: Run, folder: Path, registered: None) -> None:
        words = ["download", "--object-id", OBJECT, "--output-dir", "out"]
        assert run(*words)[0] == 0
        status, _, err = run(*words)
        assert status == 0
        assert "1 file: 1 already there" in err
        (folder / "out" / "a.bam").write_bytes(b"changed")
        status, _, err = run(*words)
        assert status == 3
        assert "To replace it: --force." in err
        assert run(*words, "--force")[0] == 0
        assert (folder / "out" / "a.bam").read_bytes() == DATA

    def test_waits_are_told(self, run: Run, folder: Path, site: FaultyScore, registered: None) -> None:
        site.traffic.inject(Answer.unavailable(), range=f"bytes={PART}-")
        status, _, err = run("download", "--object-id", OBJECT, "--output-dir", "out")
        assert status == 0
        assert "part 2: retry 1/1 in 0.0 s: GET http://" in err
        assert "the store answered 503 SlowDown" in err
