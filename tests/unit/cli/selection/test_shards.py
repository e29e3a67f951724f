"""The share of a task of a job array."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from ..conftest import ANALYSIS, DATA, OBJECT, OTHER, Run
from .conftest import ANALYSED, DOWNLOAD, records


class TestShards:
    @pytest.mark.parametrize("source", ["analysis", "manifest", "ids"])
    def test_all_shares_together_are_the_whole(
        self, run: Run, folder: Path, song: FakeSong, site: FaultyScore, source: str
    ) -> None:
        ids = [f"5c0eca11-0000-4000-8000-0000000000{number:02}" for number in range(30, 37)]
        lines = ["object_id\tfile_size"]
        for number, object_id in enumerate(ids):
            data = b"x" * (number * 1000)
            song.register(f"{number}.bam", analysis=ANALYSIS, object_id=object_id, size=len(data))
            site.fake.add(object_id, data)
            lines.append(f"{object_id}\t{len(data)}")
        (folder / "m.tsv").write_text("\n".join(lines) + "\n")
        words = {"analysis": ANALYSED, "manifest": ("--manifest", "m.tsv"), "ids": ("--object-id", *ids)}[source]
        done: list[str] = []
        for number in (1, 2, 3):
            status, out, _ = run(*DOWNLOAD, *words, "--shard", f"{number}/3", "--json")
            assert status == 0
            mine = [str(one["object_id"]) for one in records(out) if one["record"] == "object"]
            assert mine
            done += mine
        assert sorted(done) == sorted(ids)

    def test_uploads_too(self, run: Run, files: Path, site: FaultyScore) -> None:
        for number, name in ((1, OBJECT), (2, OTHER)):
            assert run("upload", *ANALYSED, "--dir", "in", "--shard", f"{number}/2")[0] == 0
            assert name in site.fake.objects

    def test_an_index_of_another_share_is_left_to_it(
        self, run: Run, folder: Path, song: FakeSong, site: FaultyScore
    ) -> None:
        """Two tasks of one array never write the same file."""
        song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=len(DATA))
        song.register("a.bam.bai", analysis=ANALYSIS, object_id=OTHER, size=5)
        site.fake.add(OBJECT, DATA)
        site.fake.add(OTHER, b"other")
        assert run(*DOWNLOAD, "--object-id", OBJECT, OTHER, "--shard", "1/2")[0] == 0
        assert os.listdir(folder / "out") == ["a.bam"]
        assert run(*DOWNLOAD, "--object-id", OBJECT, OTHER, "--shard", "2/2")[0] == 0
        assert sorted(os.listdir(folder / "out")) == ["a.bam", "a.bam.bai"]
        assert run("download", "--output-dir", "alone", "--object-id", OBJECT, "--shard", "1/1")[0] == 0
        assert sorted(os.listdir(folder / "alone")) == ["a.bam", "a.bam.bai"]

    def test_a_share_without_items_is_no_failure(self, run: Run, folder: Path, registered: None) -> None:
        status, _, err = run(*DOWNLOAD, "--object-id", OBJECT, "--shard", "2/2")
        assert status == 0
        assert "0 files: nothing to do." in err

    @pytest.mark.parametrize("value", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
    def test_nonsense(self, run: Run, folder: Path, value: str) -> None:
        status, _, err = run(*DOWNLOAD, "--object-id", OBJECT, "--shard", value)
        assert status == 2
        assert "is not I/N with I from 1 to N" in err
