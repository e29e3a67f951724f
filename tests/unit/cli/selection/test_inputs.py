"""What a command works on: analyses and folders, standard input, equal names, and names beyond the locale."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from ..conftest import ANALYSIS, CLIENT, DATA, MD5, OBJECT, OTHER, Run
from .conftest import ANALYSED, DOWNLOAD, records


class TestAnalysis:
    def test_its_files_are_found_and_sent(self, run: Run, files: Path, site: FaultyScore) -> None:
        status, out, err = run("upload", *ANALYSED, "--dir", "in")
        assert (status, out) == (0, "")
        assert "2 files: 2 uploaded" in err
        assert site.fake.objects[OBJECT].data == DATA
        assert site.fake.objects[OTHER].data == b"other"

    def test_nothing_is_sent_while_one_is_missing(self, run: Run, files: Path, site: FaultyScore) -> None:
        (files / "lane" / "b.bam").unlink()
        status, _, err = run("upload", *ANALYSED, "--dir", "in")
        assert status == 4
        assert "in does not hold b.bam." in err
        assert "Nothing was sent." in err
        assert site.traffic.seen() == []

    def test_nothing_is_sent_while_one_is_there_twice(self, run: Run, files: Path, site: FaultyScore) -> None:
        (files / "b.bam").write_bytes(b"other")
        status, _, err = run("upload", *ANALYSED, "--dir", "in")
        assert status == 2
        assert "b.bam is there 2 times" in err
        assert site.traffic.seen() == []

    def test_an_analysis_that_nobody_knows(self, run: Run, files: Path) -> None:
        status, _, err = run("upload", "--analysis-id", OTHER, "--study-id", "TEST-CA", "--dir", "in")
        assert status == 4
        assert f"has no analysis {OTHER}" in err

    @pytest.mark.parametrize(
        "words", [["--analysis-id", "a"], ["--dir", "in"], ["--analysis-id", "a", "--study-id", "s"]]
    )
    def test_what_belongs_together(self, run: Run, folder: Path, words: list[str]) -> None:
        status, _, err = run("upload", *words)
        assert status == 2
        assert "--analysis-id, --study-id and --dir belong together" in err


class TestStandardInput:
    def test_ids(self, run: Run, folder: Path, registered: None, stdin: Callable[[bytes], None]) -> None:
        stdin(f"{OBJECT}\n\n# a comment\r\n  {OTHER} # another\n{OBJECT}\n".encode())
        status, _, err = run(*DOWNLOAD, "--object-id", "-")
        assert status == 0
        assert "2 files: 2 downloaded" in err

    @pytest.mark.parametrize(("data", "says"), [(b"", "holds no object ids"), (b"x y\n", "'x' is not an object id")])
    def test_no_ids(
        self, run: Run, folder: Path, stdin: Callable[[bytes], None], data: bytes, says: str, site: FaultyScore
    ) -> None:
        stdin(data)
        status, _, err = run(*DOWNLOAD, "--object-id", "-")
        assert status == 2
        assert says in err
        assert site.traffic.seen() == []

    def test_a_download_manifest(
        self, run: Run, folder: Path, registered: None, stdin: Callable[[bytes], None]
    ) -> None:
        stdin(f"object_id\n{OBJECT}\n".encode())
        assert run(*DOWNLOAD, "--manifest", "-")[0] == 0
        assert (folder / "out" / "a.bam").read_bytes() == DATA

    def test_an_upload_manifest(
        self, run: Run, files: Path, site: FaultyScore, stdin: Callable[[bytes], None]
    ) -> None:
        stdin(f"{ANALYSIS}\t\t\n{OBJECT}\tin/a.bam\t{MD5}\n".encode())
        assert run("upload", "--manifest", "-")[0] == 0
        assert site.fake.objects[OBJECT].data == DATA

    def test_a_real_pipe(self, folder: Path, registered: None) -> None:
        ended = subprocess.run(
            [*CLIENT, *DOWNLOAD, "--object-id", "-"],
            cwd=folder,
            input=f"{OBJECT}\n".encode(),
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert (folder / "out" / "a.bam").read_bytes() == DATA


class TestEqualNames:
    """Two objects of one name: none overwrites the other, and none is dropped without a word."""

    @pytest.fixture(autouse=True)
    def twins(self, song: FakeSong, site: FaultyScore) -> None:
        for object_id, analysis in ((OBJECT, ANALYSIS), (OTHER, ANALYSIS)):
            song.register("a.bam", analysis=analysis, object_id=object_id)
        site.fake.add(OBJECT, DATA)
        site.fake.add(OTHER, b"other")

    @pytest.mark.parametrize("layout", ["filename", "bundle"])
    @pytest.mark.parametrize("force", [(), ("--force",)])
    def test_in_one_run(self, run: Run, folder: Path, layout: str, force: tuple[str, ...]) -> None:
        status, out, err = run(*DOWNLOAD, "--object-id", OBJECT, OTHER, "--output-layout", layout, "--json", *force)
        assert status == 3
        states = {one["object_id"]: one["state"] for one in records(out)[:-1]}
        assert sorted(map(str, states.values())) == ["downloaded", "failed"]
        assert f"would be written by two objects, {OBJECT} and {OTHER}" in err.replace(
            f"{OTHER} and {OBJECT}", f"{OBJECT} and {OTHER}"
        )
        path = folder / "out" / ("a.bam" if layout == "filename" else f"{ANALYSIS}/a.bam")
        kept = next(one for one, state in states.items() if state == "downloaded")
        assert path.read_bytes() == (DATA if kept == OBJECT else b"other")

    def test_one_run_after_the_other(self, run: Run, folder: Path) -> None:
        assert run(*DOWNLOAD, "--object-id", OBJECT)[0] == 0
        status, _, err = run(*DOWNLOAD, "--object-id", OTHER)
        assert status == 3
        assert "is there already, with 328,680 bytes instead of 5" in err
        assert (folder / "out" / "a.bam").read_bytes() == DATA

    def test_in_two_shares(self, run: Run, folder: Path, site: FaultyScore) -> None:
        words = (*DOWNLOAD, "--object-id", OBJECT, OTHER)
        assert run(*words, "--shard", "1/2")[0] == 0
        status, _, err = run(*words, "--shard", "2/2")
        assert status == 3
        assert "is there already" in err
        site.traffic.forget()
        status, _, err = run(*words, "--shard", "2/2", "--force")
        assert status == 2
        assert "Add --output-layout bundle or id." in err
        assert site.traffic.seen() == []
        assert run(*words, "--shard", "2/2", "--force", "--output-layout", "id")[0] == 0

    def test_by_id_both_come(self, run: Run, folder: Path) -> None:
        assert run(*DOWNLOAD, "--object-id", OBJECT, OTHER, "--output-layout", "id")[0] == 0
        assert sorted(os.listdir(folder / "out")) == [OBJECT, OTHER]


class TestLocales:
    @pytest.mark.parametrize(
        "variables",
        [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8"}],
    )
    def test_odd_names_in_every_locale(
        self, folder: Path, song: FakeSong, site: FaultyScore, variables: dict[str, str]
    ) -> None:
        name = "größe".encode() + b"\xff \xe2\x82.bam"
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"x")
        song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=1)
        words = [*CLIENT, "upload", "--object-id", OBJECT, "--file", name, "--json", "--report", "r.tsv"]
        ended = subprocess.run(
            words, cwd=folder, env={**os.environ, **variables}, capture_output=True, timeout=120, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert b".bam: uploaded, 1 B" in ended.stderr
        first, _ = records(ended.stdout.decode("ascii"))
        assert str(first["path"]).encode("utf-8", "surrogateescape") == name
        assert name in (folder / "r.tsv").read_bytes()
