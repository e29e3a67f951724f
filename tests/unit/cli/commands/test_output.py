"""What goes to which standard stream, and streams that are full, closed, or of another encoding."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from score.cli.main import main
from score.testing.score import FaultyScore

from ..conftest import ANALYSIS, CLIENT, DATA, OBJECT, Run


class TestOutput:
    def test_silence(self, run: Run, folder: Path, registered: None) -> None:
        assert run("--silent", "download", "--object-id", OBJECT, "--output-dir", "out") == (0, "", "")
        status, out, err = run("--silent", "download", "--object-id", ANALYSIS, "--output-dir", "out")
        assert (status, out) == (4, "")
        assert "Error: " in err

    def test_colours_only_where_they_are_wanted(self, run: Run, folder: Path, registered: None) -> None:
        words = ["download", "--object-id", OBJECT, "--output-dir", "out", "--force"]
        assert "\x1b[" not in run(*words)[2]
        assert "\x1b[" not in run("--no-ansi", *words)[2]
        assert "\x1b[" in run("--ansi", *words)[2]

    def test_a_url_goes_to_standard_output_alone(
        self, folder: Path, site: FaultyScore, registered: None, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["url", "--object-id", OBJECT])
        out, err = capfd.readouterr()
        assert (ended.value.code, err) == (0, "")
        assert out.startswith(f"{site.url}/store/{OBJECT}?")
        assert out.count("\n") == 1

    def test_a_terminal_that_goes_away_ends_no_transfer(
        self, folder: Path, site: FaultyScore, registered: None
    ) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        words = [*CLIENT, "download", "--object-id", OBJECT, "--output-dir", "out"]
        with os.fdopen(writing, "wb") as nobody:
            ended = subprocess.run(words, cwd=folder, stderr=nobody, timeout=120, check=False)
        assert (folder / "out" / "a.bam").read_bytes() == DATA
        assert ended.returncode == 0

    def test_a_reader_that_goes_away_is_no_defect(self, folder: Path, registered: None) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        words = [*CLIENT, "url", "--object-id", OBJECT]
        with os.fdopen(writing, "wb") as nobody:
            ended = subprocess.run(
                words, cwd=folder, stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=120, check=False
            )
        assert ended.returncode != 0
        assert "Traceback" not in ended.stderr
        assert "defect" not in ended.stderr

    def test_a_defect_is_told_as_one_without_a_page_of_code(
        self, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def defect(*_: object) -> None:
            raise KeyError("secret")

        monkeypatch.setattr("score.client.settings.read", defect)
        status, out, err = run("url", "--object-id", OBJECT)
        assert (status, out) == (1, "")
        assert "a defect of this program: KeyError" in err
        assert "secret" not in err


class TestStreams:
    """Standard streams that are full, closed, or of another encoding."""

    @staticmethod
    def with_stream(
        words: list[str], redirection: str, folder: Path, **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        script = f'exec "$@" {redirection}'
        return subprocess.run(
            ["sh", "-c", script, "sh", *CLIENT, *words],
            cwd=folder,
            env={**os.environ, **environ},
            capture_output=True,
            timeout=120,
            check=False,
        )

    @pytest.mark.parametrize(
        "words",
        [
            ["version"],
            ["--version"],
            ["help"],
            ["help", "upload"],
            ["--help"],
            ["upload", "-h"],
            ["version", "--help"],
            ["config"],
            ["info"],
            ["completion", "bash"],
            ["url", "--object-id", OBJECT],
        ],
        ids=" ".join,
    )
    def test_standard_output_that_is_full(self, folder: Path, registered: None, words: list[str]) -> None:
        ended = self.with_stream(words, ">/dev/full", folder)
        assert ended.returncode == 10
        assert b"Error: Standard output: No space left on device." in ended.stderr

    def test_standard_error_that_is_full(self, folder: Path) -> None:
        assert self.with_stream(["upload", "--nosuch"], "2>/dev/full", folder).returncode == 2

    def test_standard_error_that_is_closed(self, folder: Path, registered: None) -> None:
        words = ["download", "--object-id", OBJECT, "--output-dir", "out"]
        ended = self.with_stream(words, "2>&-", folder)
        assert (ended.returncode, ended.stdout) == (0, b"")
        assert (folder / "out" / "a.bam").read_bytes() == DATA
        ended = self.with_stream(["upload", "--nosuch"], "2>&-", folder)
        assert (ended.returncode, ended.stdout) == (2, b"")

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["download", "--output-dir", "d", "--object-id", "-"], b"Standard input holds no object ids."),
            (["download", "--output-dir", "d", "--manifest", "-"], b"Standard input is empty."),
        ],
    )
    def test_standard_input_that_is_closed(self, folder: Path, words: list[str], says: bytes) -> None:
        ended = self.with_stream(words, "<&-", folder)
        assert ended.returncode == 2
        assert says in ended.stderr

    def test_standard_input_that_is_no_text(self, folder: Path) -> None:
        (folder / "ids").write_bytes(b"\xff\xfe\n")
        words = ["download", "--output-dir", "d", "--object-id", "-"]
        ended = self.with_stream(words, "<ids", folder, PYTHONIOENCODING="utf-8:strict")
        assert ended.returncode == 2
        assert b"is not an object id." in ended.stderr

    def test_names_that_are_no_text_go_out_as_they_came_in(self, folder: Path) -> None:
        words = ["config", "--client.uploadStateDir=" + os.fsdecode(b"\xff")]
        ended = self.with_stream(words, "", folder, PYTHONIOENCODING="utf-8:strict")
        assert ended.returncode == 0
        assert b"client.uploadStateDir=\xff " in ended.stdout

    def test_what_an_encoding_does_not_have(self, folder: Path) -> None:
        ended = self.with_stream(["help", "download"], "", folder, PYTHONIOENCODING="latin-1")
        assert ended.returncode == 0
        assert b"(.bai, .tbi \\u2026)" in ended.stdout
