"""``--report``: a line for each object."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from ..conftest import ANALYSIS, CLIENT, DATA, MD5, OBJECT, OTHER, Run
from .conftest import DOWNLOAD


class TestReport:
    def test_a_line_for_each_object(self, run: Run, folder: Path, registered: None) -> None:
        status, _, _ = run(*DOWNLOAD, "--object-id", OBJECT, ANALYSIS, "--report", "r.tsv")
        assert status == 3
        header, *lines = [line.split("\t") for line in (folder / "r.tsv").read_text().splitlines()]
        assert header == ["object_id", "path", "state", "bytes", "seconds", "md5", "error"]
        found = {line[0]: line for line in lines}
        assert found[OBJECT][1:4] == ["out/a.bam", "downloaded", str(len(DATA))]
        assert found[OBJECT][5:] == [MD5, ""]
        assert found[ANALYSIS][2] == "failed"
        assert "does not exist" in found[ANALYSIS][6]

    def test_it_is_readable_after_a_crash(self, folder: Path, site: FaultyScore, registered: None) -> None:
        gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=1)
        words = [*CLIENT, *DOWNLOAD, "--object-id", OTHER, OBJECT, "--report", "r.tsv", "--json"]
        with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
            gate.wait_for_arrival()
            assert client.stdout is not None
            client.stdout.readline()  # OTHER has ended
            client.kill()
        lines = (folder / "r.tsv").read_text().splitlines()
        assert len(lines) == 2
        assert lines[1].startswith(f"{OTHER}\tout/b.bam\tdownloaded\t5\t")

    def test_nothing_else_is_overwritten(self, run: Run, folder: Path, registered: None, site: FaultyScore) -> None:
        (folder / "a.bam").write_bytes(b"precious")
        status, _, err = run(*DOWNLOAD, "--object-id", OBJECT, "--report", "a.bam")
        assert status == 2
        assert "a.bam is there already, and is no report" in err
        assert (folder / "a.bam").read_bytes() == b"precious"
        assert site.traffic.seen() == []
        for _ in range(2):
            assert run(*DOWNLOAD, "--object-id", OBJECT, "--report", "r.tsv")[0] == 0
        assert "already there" in (folder / "r.tsv").read_text()

    def test_a_folder_that_is_not_there(self, run: Run, folder: Path, registered: None, site: FaultyScore) -> None:
        status, _, err = run(*DOWNLOAD, "--object-id", OBJECT, "--report", "missing/r.tsv")
        assert status == 4
        assert "missing/r.tsv: No such file or directory" in err
        assert site.traffic.seen() == []

    def test_odd_names_stay_in_their_cells(self, run: Run, folder: Path, site: FaultyScore, song: FakeSong) -> None:
        name = os.fsdecode(b"a\tb\\\n\xff.bam")
        (folder / name).write_bytes(b"x")
        song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=1)
        assert run("upload", "--object-id", OBJECT, "--file", name, "--report", "r.tsv")[0] == 0
        cells = (folder / "r.tsv").read_bytes().splitlines()[1].split(b"\t")
        assert cells[1] == b"a\\tb\\\\\\n\xff.bam"
