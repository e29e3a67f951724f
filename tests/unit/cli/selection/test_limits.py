"""Limits of a run, settings given as options, and no validation."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from score.cli.options import Duration
from score.testing.faults import Answer
from score.testing.score import FaultyScore

from ..conftest import CLIENT, DATA, OBJECT, Run
from .conftest import DOWNLOAD, records


class TestLimits:
    """A limit of a byte a second lets nothing through but the first piece; the other way it is of no account."""

    @pytest.mark.parametrize(("limit", "status"), [("off:1b", 130), ("1b:off", 0)])
    def test_of_a_download(self, folder: Path, registered: None, site: FaultyScore, limit: str, status: int) -> None:
        words = [*DOWNLOAD, "--object-id", OBJECT, "--bwlimit", limit, *(["--max-duration", "1s"] if status else [])]
        ended = subprocess.run(
            [*CLIENT, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == status, ended.stderr
        assert (folder / "out" / "a.bam").exists() == (status == 0)
        asked = {one.headers["range"] for one in site.traffic.seen(method="GET", path=f"^/store/{OBJECT}")}
        assert len(asked) == (1 if status else 6), "the others wait, so that some are finished in time"

    @pytest.mark.parametrize(("limit", "status"), [("1b:off", 130), ("off:1b", 0)])
    def test_of_an_upload(self, folder: Path, site: FaultyScore, limit: str, status: int) -> None:
        (folder / "a.bam").write_bytes(DATA)
        words = ["upload", "--object-id", OBJECT, "--file", "a.bam", "--bwlimit", limit]
        words += ["--max-duration", "1s"] if status else []
        ended = subprocess.run(
            [*CLIENT, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == status, ended.stderr
        assert (OBJECT in site.fake.objects) == (status == 0)
        sent = {one.query for one in site.traffic.seen(method="PUT", path=f"^/store/{OBJECT}")}
        assert len(sent) == (1 if status else 6)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("90s", 90), ("5", 5), ("2m", 120), ("3h", 10_800), ("1d", 86_400), ("2h30m", 9_000), ("1d2h3m4s", 93_784)],
    )
    def test_a_time(self, text: str, seconds: float) -> None:
        assert Duration().convert(text, None, None) == seconds

    def test_when_the_time_is_over_the_same_command_goes_on_later(
        self, run: Run, folder: Path, site: FaultyScore, registered: None
    ) -> None:
        gate = site.traffic.hold(path=f"^/store/{OBJECT}", skip=2)
        words = [*DOWNLOAD, "--object-id", OBJECT, "--transport.parallel=1"]
        ended = subprocess.run(
            [*CLIENT, *words, "--max-duration", "3s", "--report", "r.tsv"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 130
        assert "The time for this run is over" in ended.stderr
        assert "Run the same command again to go on from there." in ended.stderr
        assert len(list((folder / "out" / f".{OBJECT}").glob("part-*"))) == 2
        (row,) = [line.split("\t") for line in (folder / "r.tsv").read_text().splitlines()[1:]]
        assert row[:4] == [OBJECT, "", "not finished", "0"]
        assert row[6].startswith("The time for this run is over: 1 of 1 files remain, 1 are begun;")
        gate.open()
        site.traffic.heal()
        site.traffic.forget()
        assert run(*words, "--max-duration", "1d")[0] == 0
        assert (folder / "out" / "a.bam").read_bytes() == DATA
        assert len(site.gets) == 4


class TestSettingsAsOptions:
    def test_nothing_to_do_is_told_where_it_is_asked_for(self, run: Run, folder: Path, registered: None) -> None:
        words = (*DOWNLOAD, "--object-id", OBJECT, "--error-on-no-transfer")
        assert run(*words)[0] == 0
        assert run(*words)[0] == 9
        assert run(*words[:-1])[0] == 0
        assert run(*words, "--force")[0] == 0
        assert run(*words, "--dry-run")[0] == 9

    @pytest.mark.parametrize(("retries", "calls"), [(0, 1), (2, 3)])
    def test_retries(self, run: Run, folder: Path, site: FaultyScore, retries: int, calls: int) -> None:
        site.traffic.inject(Answer(503), path="/profile", times=None)
        assert run(*DOWNLOAD, "--object-id", OBJECT, "--retries", retries)[0] == 5
        assert len(site.traffic.seen(path="/profile")) == calls

    def test_the_folder_of_the_state(self, folder: Path, files: Path, site: FaultyScore) -> None:
        gate = site.traffic.hold(method="PUT", skip=2)
        words = [*CLIENT, "upload", "--object-id", OBJECT, "--file", "in/a.bam", "--state-dir", "state"]
        with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE) as client:
            gate.wait_for_arrival()
            client.kill()
        assert (folder / "state" / f".{OBJECT}" / "uploadId").is_file()
        assert not (files / f".{OBJECT}").exists()


def test_without_validation_nothing_is_called_verified(run: Run, folder: Path, registered: None) -> None:
    status, out, _ = run(*DOWNLOAD, "--object-id", OBJECT, "--validate", "false", "--json")
    assert status == 0
    assert records(out)[0]["state"] == "downloaded, not verified"
    assert (folder / "out" / "a.bam").read_bytes() == DATA
