"""``score-client upload``: its options, and with which status it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from score.testing.faults import Answer, Reset
from score.testing.score import FaultyScore

from ..conftest import ANALYSIS, DATA, MD5, OBJECT, OTHER, Run


class TestUpload:
    def test_one_file(self, run: Run, folder: Path, site: FaultyScore) -> None:
        (folder / "a.bam").write_bytes(DATA)
        status, out, err = run("upload", "--object-id", OBJECT, "--file", "a.bam", "--md5", MD5)
        assert (status, out) == (0, "")
        assert "a.bam: uploaded" in err
        assert "1 file: 1 uploaded" in err
        assert site.fake.objects[OBJECT].data == DATA

    @pytest.mark.parametrize(
        "words",
        [
            ["--storage.url={url}"],
            ["--storage.url", "{url}"],
            ["--STORAGE.URL={url}", "--storage.retry-number", "1"],
        ],
    )
    def test_options_and_settings_in_any_form(
        self, run: Run, folder: Path, site: FaultyScore, words: list[str]
    ) -> None:
        (folder / "application.properties").unlink()
        (folder / "a.bam").write_bytes(b"x")
        settings = [word.format(url=site.url) for word in words]
        status, _, err = run(
            "upload", f"--object-id={OBJECT}", *settings, "--file=a.bam", "--force", "--verify-connection=true"
        )
        assert status == 0, err

    @pytest.mark.parametrize(("value", "asked"), [("true", True), ("false", False), ("TRUE", True), ("False", False)])
    def test_booleans_take_a_value(self, run: Run, folder: Path, site: FaultyScore, value: str, asked: bool) -> None:
        (folder / "a.bam").write_bytes(b"x")
        assert run("upload", "--object-id", OBJECT, "--file", "a.bam", "--verify-connection", value)[0] == 0
        assert bool(site.traffic.seen(path="/download/ping")) is asked

    @pytest.mark.parametrize("value", ["true", "false"])
    @pytest.mark.parametrize(
        "words",
        [
            ("download", "--object-id", OBJECT, "--output-dir", "out"),
            ("verify", "--object-id", OBJECT, "--output-dir", "out", "--repair"),
            ("view", "--object-id", OBJECT, "--header-only"),  # only where the store gives nothing
        ],
        ids=lambda words: words[0],
    )
    def test_the_store_is_tried_out_unless_that_is_not_wanted(
        self, run: Run, folder: Path, site: FaultyScore, registered: None, words: tuple[str, ...], value: str
    ) -> None:
        site.traffic.inject(Reset(), path=f"^/store/{OBJECT}", times=None)
        assert run(*words, "--verify-connection", value)[0] == 5
        assert bool(site.traffic.seen(path="/download/ping")) is (value == "true")

    def test_one_bad_file_of_a_manifest_is_named_in_the_end(self, run: Run, folder: Path, site: FaultyScore) -> None:
        (folder / "a.bam").write_bytes(DATA)
        (folder / "m.txt").write_text(f"{ANALYSIS}\t\t\n{OTHER}\tmissing.bam\t{MD5}\n{OBJECT}\ta.bam\t{MD5}\n")
        status, out, err = run("upload", "--manifest", "m.txt")
        assert (status, out) == (3, "")
        assert "Error: missing.bam: No such file or directory." in err
        assert "2 files: 1 uploaded, 1 failed" in err
        assert OBJECT in site.fake.objects

    def test_a_single_failure_has_its_own_status(self, run: Run, folder: Path, site: FaultyScore) -> None:
        (folder / "a.bam").write_bytes(DATA)
        assert run("upload", "--object-id", OBJECT, "--file", "missing")[0] == 4
        assert run("upload", "--object-id", OBJECT, "--file", "a.bam", "--md5", "0" * 32)[0] == 8
        assert run("upload", "--object-id", "x", "--file", "a.bam")[0] == 2
        site.traffic.inject(Answer.denied(), method="PUT", times=None)
        assert run("upload", "--object-id", OBJECT, "--file", "a.bam")[0] == 3
        site.traffic.heal()
        site.traffic.inject(Answer(503), path="^/upload/", times=None)
        assert run("upload", "--object-id", OBJECT, "--file", "a.bam")[0] == 5
        site.traffic.heal()
        site.traffic.inject(Answer(403, b"Token missing required scope to update project"), path="^/upload/")
        status, _, err = run("upload", "--object-id", OBJECT, "--file", "a.bam")
        assert status == 7
        assert "Token missing required scope to update project" in err
        site.traffic.inject(Answer(401), times=None)
        assert run("upload", "--object-id", OBJECT, "--file", "a.bam")[0] == 6

    def test_a_manifest_that_is_none(self, run: Run, folder: Path, site: FaultyScore) -> None:
        (folder / "m.xml").write_text("<?xml version='1.0'?>")
        for name, status in (("m.xml", 2), (".", 2), ("missing", 4), (OBJECT, 2)):
            assert run("upload", "--manifest", name)[0] == status
        assert site.traffic.seen() == []
