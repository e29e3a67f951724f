"""score-client: what it understands, what it prints where, and with which status it ends."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from score._version import described
from score.cli.main import main, split
from score.testing.faults import Answer, Reset
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

ANALYSIS = "a11aca11-0000-4000-8000-000000000020"
OBJECT = "5c0eca11-0000-4000-8000-000000000020"
OTHER = "5c0eca11-0000-4000-8000-000000000021"
PART = 64 * 1024
DATA = random.Random(3).randbytes(5 * PART + 1000)
MD5 = hashlib.md5(DATA).hexdigest()
Run = Callable[..., tuple[int, str, str]]
CLIENT = [sys.executable, "-W", "error", "-m", "score.cli.main"]


class TestSplitting:
    @pytest.mark.parametrize(
        ("words", "settings"),
        [
            (["--storage.url=http://s:1"], ["--storage.url=http://s:1"]),
            (["--storage.url", "http://s:1"], ["--storage.url=http://s:1"]),
            (["--accessToken", "x", "--accessTokenFile=y"], ["--accessToken=x", "--accessTokenFile=y"]),
            (["--client.ssl.trust-store=a=b"], ["--client.ssl.trust-store=a=b"]),
            (["--client.quiet"], ["--client.quiet"]),
            (["--defaultProfile=s3"], ["--defaultProfile=s3"]),
        ],
    )
    def test_settings_are_taken_from_anywhere(self, words: list[str], settings: list[str]) -> None:
        assert split(words) == ([], settings)
        assert split(["upload", *words, "--force"]) == (["upload", "--force"], settings)

    def test_those_of_the_program_may_come_after_its_command(self) -> None:
        words = ["upload", "--quiet", "--file", "a", "--profile", "x", "--no-ansi", "--profile=y", "--", "--silent"]
        common = ["--quiet", "--profile", "x", "--no-ansi", "--profile=y"]
        assert split(words) == ([*common, "upload", "--file", "a", "--", "--silent"], [])
        assert split(["config", "--profile"]) == (["config", "--profile"], [])

    @pytest.mark.parametrize(
        "words",
        [
            ["download", "--output-dir", "a.b", "--object-id", "x"],
            ["upload", "--file=a.b", "--force"],
            ["--quiet", "version"],
            ["upload", "--", "--storage.url=x"],
        ],
    )
    def test_options_are_left_to_the_command(self, words: list[str]) -> None:
        assert split(words) == (words, [])


class TestUsage:
    @pytest.mark.parametrize(
        ("words", "says"),
        [
            ("nosuch", "No such command"),
            ("uplod", "Did you mean 'upload'?"),
            ("upload", "Give either --manifest, or --object-id and --file"),
            (f"upload --object-id {OBJECT}", "belong together"),
            ("upload --file x", "belong together"),
            ("upload --manifest m --file x", "Give either"),
            ("upload --manifest m --md5 x", "--md5 belongs to"),
            ("upload --nosuch", "No such option"),
            ("upload --object-id x --file f --max-duration soon", "no time such as"),
            ("upload --object-id x --file f --max-duration 0s", "no time such as"),
            ("upload --object-id x --file f --bwlimit fast", "'fast' is no rate"),
            ("upload --object-id x --file f --verify-connection maybe", "--verify-connection"),
            ("download", "--output-dir"),
            ("download --output-dir d", "Give one of"),
            (f"download --output-dir d --object-id {OBJECT} --manifest m", "Give one of"),
            ("download --output-dir d --analysis-id a", "belong together"),
            ("download --output-dir d --study-id a", "belong together"),
            ("download --output-dir d stray", "Object ids follow --object-id"),
            (f"download --output-dir d --object-id {OBJECT} --output-layout x", "--output-layout"),
            (f"download --output-dir d --object-id {OBJECT} --offset -1", "--offset"),
            (f"download --output-dir d --object-id {OBJECT} --length x", "--length"),
            (f"download --output-dir d --object-id {OBJECT} --index maybe", "--index"),
            ("url", "--object-id"),
            ("help nosuch", "No such command"),
            ("register --study-id S", "--dir"),
            ("publish --study-id S", "--analysis-id"),
        ],
    )
    def test_a_wrong_command_line_is_explained(
        self, run: Run, folder: Path, site: FaultyScore, words: str, says: str
    ) -> None:
        status, out, err = run(*words.split())
        assert (status, out) == (2, "")
        assert says in err
        assert site.traffic.seen() == []

    @pytest.mark.parametrize(
        "content", [b"@read1\nACGT\n", b"\x1f\x8b\xff", b"object_id\n", f"{OBJECT}\tx\ty\n".encode()]
    )
    def test_no_file_but_a_manifest_is_overwritten_by_one(
        self, run: Run, folder: Path, site: FaultyScore, song: FakeSong, content: bytes
    ) -> None:
        (folder / "a.fastq").write_bytes(content)
        status, out, err = run("register", "--study-id", "S", "--dir", ".", "--manifest", "a.fastq")
        assert (status, out) == (2, "")
        assert "a.fastq is there already, and is no upload manifest" in err
        assert (folder / "a.fastq").read_bytes() == content
        assert site.traffic.seen() == song.traffic.seen() == []

    @pytest.mark.parametrize(
        ("words", "option"),
        [
            (f"upload --object-id {OBJECT} --file _", "--file"),
            ("upload --object-id _ --file f", "--object-id"),
            ("upload --manifest _", "--manifest"),
            ("upload --analysis-id a --study-id s --dir _", "--dir"),
            ("upload --analysis-id _ --study-id s --dir d", "--analysis-id"),
            ("upload --manifest m --state-dir _", "--state-dir"),
            ("upload --manifest m --report _", "--report"),
            ("download --output-dir d --object-id _", "--object-id"),
            (f"download --output-dir d --object-id {OBJECT} _", "--object-id"),
            (f"download --output-dir _ --object-id {OBJECT}", "--output-dir"),
            ("download --output-dir d --manifest _", "--manifest"),
            ("download --output-dir d --analysis-id a --study-id _", "--study-id"),
            (f"verify --output-dir _ --object-id {OBJECT}", "--output-dir"),
            ("url --object-id _", "--object-id"),
            ("manifest --manifest _", "--manifest"),
            ("view --object-id _ --header-only", "--object-id"),
            ("view --input-file _ --header-only", "--input-file"),
            (f"view --object-id {OBJECT} --output-dir _", "--output-dir"),
            (f"view --object-id {OBJECT} --query _", "--query"),
            ("mount --mount-point _", "--mount-point"),
            ("register --study-id s --dir _ --manifest m", "--dir"),
            ("register --study-id s --dir d --manifest _", "--manifest"),
            ("publish --study-id s --analysis-id _", "--analysis-id"),
            ("check --output-dir _", "--output-dir"),
        ],
    )
    def test_a_variable_of_a_script_that_is_not_set_is_no_value(
        self, run: Run, folder: Path, site: FaultyScore, song: FakeSong, words: str, option: str
    ) -> None:
        """An empty name would mean the current folder, or nothing at all, and that would be a success."""
        status, out, err = run(*("" if word == "_" else word for word in words.split()))
        assert (status, out) == (2, "")
        assert re.search(f"Error: .*{option}.*empty", err), err
        assert site.traffic.seen() == song.traffic.seen() == []
        assert sorted(os.listdir(folder)) == ["application.properties"]

    def test_what_is_no_object_id_is_told_before_a_server_is_asked(
        self, run: Run, folder: Path, site: FaultyScore, song: FakeSong
    ) -> None:
        """As the reference's client does it; a server that is away would be waited for first."""
        for words in ("url", "download --output-dir d", "verify --output-dir d", "upload --file f"):
            given = [OBJECT, "x"] if "output-dir" in words else ["x"]
            status, _, err = run(*words.split(), "--object-id", *given)
            assert status == 2
            assert "'x' is not an object id" in err
        assert run("download", "--output-dir", "d", "--object-id", ",")[0] == 2
        assert site.traffic.seen() == song.traffic.seen() == []

    def test_no_server_is_explained(self, run: Run, folder: Path) -> None:
        (folder / "application.properties").unlink()
        status, out, err = run("url", "--object-id", OBJECT)
        assert (status, out) == (2, "")
        assert "Error: No address of a Score server is set." in err
        assert "STORAGE_URL" in err

    def test_a_setting_without_its_value_is_named(self, run: Run, folder: Path) -> None:
        status, _, err = run("url", "--storage.url", "--object-id", OBJECT)
        assert status == 2
        assert "storage.url (option --storage.url) is 'true': an address" in err

    def test_a_wrong_setting_is_named_with_where_it_stands(self, run: Run, folder: Path) -> None:
        status, _, err = run("url", "--object-id", OBJECT, "--transport.parallel=0")
        assert status == 2
        assert "transport.parallel (option --transport.parallel) is '0'" in err

    def test_a_misspelled_setting_is_told(self, run: Run, folder: Path, registered: None) -> None:
        status, _, err = run("url", "--object-id", OBJECT, "--storage.retrynumbers=3")
        assert status == 0
        assert "Warning: storage.retrynumbers (option --storage.retrynumbers) is no setting" in err

    @pytest.mark.parametrize("words", [["help"], ["--help"], ["-h"]])
    def test_help(self, run: Run, words: list[str]) -> None:
        status, out, err = run(*words)
        assert (status, err) == (0, "")
        for command in ("upload", "download", "url", "register", "publish", "version", "help"):
            assert command in out
        assert "130 interrupted" in out

    @pytest.mark.parametrize("command", ["upload", "download", "url", "register", "publish", "version"])
    def test_help_of_a_command(self, run: Run, command: str) -> None:
        for words in (["help", command], [command, "--help"]):
            status, out, _ = run(*words)
            assert status == 0
            assert f"score-client {command}" in out

    def test_version(self, run: Run) -> None:
        assert run("--version")[:2] == (0, f"score-client {described()}\n")
        status, out, _ = run("version")
        assert status == 0
        assert out.startswith(f"score-client {described()} (Score protocol v1")


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
        assert f"Error: {OBJECT}" in err or OBJECT in err

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
        [["version"], ["help"], ["config"], ["info"], ["completion", "bash"], ["url", "--object-id", OBJECT]],
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


class TestInterruption:
    def test_again_and_again_it_ends_without_a_word_about_the_program(
        self, folder: Path, site: FaultyScore, registered: None
    ) -> None:
        gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=2)
        words = [*CLIENT, "download", "--object-id", OBJECT, "--output-dir", "out"]
        with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True) as client:
            gate.wait_for_arrival()
            while client.poll() is None:
                client.send_signal(signal.SIGINT)
            assert client.stderr is not None
            assert "Traceback" not in client.stderr.read()
        assert client.returncode == 130

    @pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("command", ["upload", "download"])
    def test_it_ends_at_once_and_says_how_to_go_on(
        self, folder: Path, site: FaultyScore, registered: None, command: str, kind: signal.Signals
    ) -> None:
        if command == "upload":
            site.fake.objects.clear()
            (folder / "a.bam").write_bytes(DATA)
            words = ["upload", "--object-id", OBJECT, "--file", "a.bam"]
            gate = site.traffic.hold(method="PUT", skip=2)
        else:
            words = ["download", "--object-id", OBJECT, "--output-dir", "out"]
            gate = site.traffic.hold(path=f"/store/{OBJECT}", skip=2)
        with subprocess.Popen([*CLIENT, *words], cwd=folder, stderr=subprocess.PIPE, text=True) as client:
            gate.wait_for_arrival()
            client.send_signal(kind)
            assert client.stderr is not None
            said = client.stderr.read()
            assert client.wait(60) == 130
        assert "Run the same command again to go on from there." in said
        assert "Traceback" not in said
        site.traffic.heal()
        again = subprocess.run(
            [*CLIENT, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert again.returncode == 0, again.stderr


class TestStart:
    @pytest.mark.parametrize("words", [["version"], ["--version"], ["help"], ["--help"]])
    def test_small_commands_load_next_to_nothing(self, words: list[str]) -> None:
        code = (
            "import sys\nfrom score.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
            "    print(*sorted({name.split('.')[0] for name in sys.modules} | set(sys.modules)), file=sys.stderr)"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120, check=True
        )
        loaded = set(ended.stderr.split())
        heavy = {
            "pydantic",
            "msgspec",
            "urllib3",
            "aiohttp",
            "fastapi",
            "botocore",
            "rich",
            "cryptography",
            "asyncio",
            "ssl",
        }
        if words != ["help"] and words != ["--help"]:
            assert not loaded & (heavy | {"score.client", "score.transfer", "score.config"})
        assert not loaded & {"aiohttp", "fastapi", "botocore", "score.server", "score.broker", "score.storage"}

    def test_no_command_loads_the_server(self) -> None:
        code = (
            "import sys, score.cli.transfers, score.cli.registry, score.client.client\n"
            "print(*sorted(name for name in sys.modules))"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        loaded = set(ended.stdout.split())
        server = {"aiohttp", "fastapi", "starlette", "uvicorn", "botocore", "boto3", "jwt", "cryptography"}
        own = {f"score.{name}" for name in ("server", "broker", "storage", "metadata", "auth", "testing")}
        assert not loaded & (server | own)

    def test_importing_the_package_costs_nothing(self) -> None:
        code = "import sys, score\nprint(*sorted(name for name in sys.modules if name.startswith('score')))"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        assert set(ended.stdout.split()) - {"score._build"} == {"score", "score._version"}


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
        assert "Run the same command again later; score-client check tells what is away." in err
        assert not (folder / "m.txt").exists()

    @pytest.mark.parametrize(("limit", "status", "said"), [(True, 3, "File too large"), (False, 10, "No space left")])
    def test_a_manifest_that_the_disk_has_no_room_for(
        self, folder: Path, song: FakeSong, limit: bool, status: int, said: str
    ) -> None:
        (folder / "in").mkdir()
        (folder / "in" / "a.bam").write_bytes(DATA)
        answers = {
            "/studies/all": ["S"],
            "/submit/": {"analysisId": ANALYSIS, "status": "OK"},
            "/files": [{"fileName": "a.bam", "objectId": OBJECT}],
        }
        for path, document in answers.items():
            song.traffic.inject(Answer(200, json.dumps(document).encode()), path=path)
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

    def test_publishing(self, run: Run, folder: Path, song: FakeSong) -> None:
        song.traffic.inject(Answer(200, b'{"message":"\\u001b[2Jpublished\\n"}'), method="PUT")
        status, out, err = run("publish", "--study-id", "S", "--analysis-id", ANALYSIS)
        assert (status, out, err) == (0, "", "[2Jpublished\n")
        song.traffic.inject(Answer(409, b'{"message":"missing.storage.objects"}'), method="PUT")
        status, _, err = run("publish", "--study-id", "S", "--analysis-id", ANALYSIS)
        assert status == 3
        assert "missing.storage.objects" in err
        assert "Upload the files that are named" in err
