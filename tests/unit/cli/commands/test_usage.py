"""What score-client understands: how its words are told apart, and what it says of wrong ones."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from score._version import described
from score.cli.main import split
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from ..conftest import OBJECT, Run


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

    @pytest.mark.parametrize(
        ("words", "name"),
        [
            ("url --object-id x --accessToken", "accessToken"),
            ("url --object-id x --accessToken --storage.url=http://127.0.0.1:1", "accessToken"),
            ("url --storage.url --object-id x", "storage.url"),
            ("--spring.config.location --silent info", "spring.config.location"),
            ("url --object-id x --client.accessToken", "client.accessToken"),
        ],
    )
    def test_a_setting_without_its_value_is_named(
        self, run: Run, folder: Path, site: FaultyScore, words: str, name: str
    ) -> None:
        status, out, err = run(*words.split())
        assert (status, out) == (2, "")
        assert f"Error: --{name} was given without a value." in err
        assert site.traffic.seen() == []

    def test_one_that_is_a_switch_needs_none(self, run: Run, folder: Path, registered: None) -> None:
        for words in ("--client.quiet", "--client.silent --metadata.ssl.enabled", "--mount.logging", "--debug.x"):
            assert run("url", "--object-id", OBJECT, *words.split())[0] == 0

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
