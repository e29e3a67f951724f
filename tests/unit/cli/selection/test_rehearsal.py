"""``--dry-run``: what would be done, and what stands in its way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from score.testing.faults import Answer, Reset
from score.testing.privileges import unprivileged
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from ..conftest import MD5, OBJECT, OTHER, Run
from .conftest import ANALYSED, DOWNLOAD


class TestRehearsal:
    def test_of_an_upload(self, run: Run, files: Path, site: FaultyScore) -> None:
        site.fake.add(OTHER, b"other")
        status, out, err = run("upload", *ANALYSED, "--dir", "in", "--dry-run")
        assert (status, out) == (0, "")
        assert "in/a.bam: would move, 321.0 KiB" in err
        assert "in/lane/b.bam: already there, 5 B" in err
        assert "2 files: 1 already there, 1 would move; nothing was moved." in err
        assert site.traffic.seen(method="POST") == []
        assert site.puts == []
        assert sorted(os.listdir(files)) == ["a.bam", "lane"]

    def test_of_an_upload_that_would_fail(self, run: Run, files: Path, site: FaultyScore) -> None:
        site.fake.add(OBJECT, b"something else")
        status, _, err = run("upload", "--object-id", OBJECT, "--file", "in/a.bam", "--dry-run")
        assert status == 3
        assert "with 14 bytes instead of" in err
        status, _, err = run("upload", "--object-id", OTHER, "--file", "in/a.bam", "--dry-run")
        assert status == 8
        assert "but 5 are registered" in err

    @pytest.mark.parametrize("given", [[], ["--md5", MD5]], ids=["", "md5"])
    def test_of_an_upload_that_nobody_registered(
        self, run: Run, files: Path, site: FaultyScore, song: FakeSong, given: list[str]
    ) -> None:
        """The server asks its registry when the upload is started."""
        unknown = "dead0000-0000-4000-8000-000000000001"
        words = ["upload", "--object-id", unknown, "--file", "in/a.bam", *given]
        status, _, err = run(*words, "--dry-run")
        assert f"in/a.bam: object {unknown} is not registered." in err
        site.traffic.inject(Answer(404, b'{"message":"Song does not know it."}'), path="/uploads")
        assert run(*words)[0] == status == 4
        song.traffic.inject(Answer(404), path="/entities", times=None)  # by one that knows no object at all
        song.traffic.inject(Answer(404), path="/studies", times=None)
        status, _, err = run(*words, "--dry-run")
        assert (status, "1 would move" in err) == (0, True)
        song.traffic.heal()
        song.traffic.inject(Reset(), times=None)
        assert run(*words, "--dry-run")[0] == 0, "the server may ask another one"

    def test_of_a_download(self, run: Run, folder: Path, registered: None, site: FaultyScore) -> None:
        (folder / "out").mkdir()
        (folder / "out" / "b.bam").write_bytes(b"other")
        status, _, err = run(*DOWNLOAD, *ANALYSED, "--dry-run")
        assert status == 0
        assert "out/a.bam: would move, 321.0 KiB" in err
        assert "out/b.bam: already there, 5 B" in err
        assert site.gets == []
        assert os.listdir(folder / "out") == ["b.bam"]

    def test_of_a_download_into_a_new_folder(self, run: Run, folder: Path, registered: None) -> None:
        assert run(*DOWNLOAD, *ANALYSED, "--dry-run")[0] == 0
        assert not (folder / "out").exists()

    @pytest.mark.parametrize("rehearsal", [["--dry-run"], []], ids=["rehearsed", "done"])
    @pytest.mark.parametrize("place", ["file", "file/below"])
    def test_of_a_download_into_a_file(
        self, run: Run, folder: Path, registered: None, place: str, rehearsal: list[str]
    ) -> None:
        (folder / "file").touch()
        status, _, err = run("download", "--output-dir", place, "--object-id", OTHER, *rehearsal)
        assert status == 2
        assert f"{place} cannot be the output folder: file is no folder." in err

    def test_of_a_download_into_a_folder_that_nobody_may_write_to(
        self, run: Run, folder: Path, registered: None
    ) -> None:
        (folder / "shut").mkdir(mode=0o555)
        for place in ("shut", "shut/below/it"):
            words = ("download", "--output-dir", place, "--object-id", OTHER, "--dry-run")
            status, _, err = unprivileged(lambda words=words: run(*words))
            assert status == 3
            assert f"{place}: nothing can be written in shut." in err

    def test_of_a_download_from_a_folder_that_is_gone(self, run: Run, folder: Path, registered: None) -> None:
        settings = [f"--{line}" for line in (folder / "application.properties").read_text().splitlines()]
        (folder / "gone").mkdir()
        os.chdir(folder / "gone")
        (folder / "gone").rmdir()
        assert run("download", "--output-dir", "out", "--object-id", OTHER, "--dry-run", *settings)[0] in (0, 3, 4)

    def test_of_a_download_that_would_fail(self, run: Run, folder: Path, registered: None) -> None:
        (folder / "out").mkdir()
        (folder / "out" / "b.bam").write_bytes(b"OTHER")
        status, _, err = run(*DOWNLOAD, "--object-id", OTHER, "--dry-run")
        assert status == 3
        assert "with other contents" in err
        assert run(*DOWNLOAD, "--object-id", OTHER, "--dry-run", "--force")[0] == 0
        assert (folder / "out" / "b.bam").read_bytes() == b"OTHER"

    def test_of_a_download_whose_bytes_would_be_in_the_way(self, run: Run, folder: Path, registered: None) -> None:
        (folder / "out").mkdir()
        (folder / "out" / OTHER).write_bytes(b"OTHER")
        for rehearsal in (["--dry-run"], []):
            status, _, err = run(*DOWNLOAD, "--object-id", OTHER, *rehearsal)
            assert status == 3
            assert f"{OTHER} is in the way" in err
        assert (folder / "out" / OTHER).read_bytes() == b"OTHER"
        assert run(*DOWNLOAD, "--object-id", OTHER, "--dry-run", "--force")[0] == 0

    @pytest.mark.parametrize("there", [True, False], ids=["a folder that is there", "a new folder"])
    def test_of_a_download_that_the_disk_has_no_room_for(
        self, run: Run, folder: Path, registered: None, site: FaultyScore, there: bool
    ) -> None:
        part = {"partNumber": 1, "partSize": 10**18, "offset": 0, "url": "http://x/", "md5": None}
        found = {"objectKey": "k", "objectId": OTHER, "uploadId": "u", "objectSize": 10**18, "parts": [part]}
        site.traffic.inject(Answer(200, json.dumps(found).encode()), path=f"/download/{OTHER}", times=None)
        if there:
            (folder / "out").mkdir()
        for rehearsal in (["--dry-run"], []):
            status, _, err = run(*DOWNLOAD, "--object-id", OTHER, *rehearsal)
            assert status == 10
            assert "bytes are needed and" in err
            assert (folder / "out").exists() == (there or not rehearsal)
