"""The words of all subcommands."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from score.errors import Misconfigured
from score.server.commands import COMMANDS, take_apart
from score.server.main import main
from score.testing.processes import free_port

from .conftest import Place


@pytest.mark.parametrize(
    "words",
    [
        ["--dryrun"], ["--dry-run=true"], ["--yes"], ["-n"], ["--dry-run", "extra"], ["--s3.upload.expiration", "0"],
        ["--"],
    ],
)  # fmt: skip
def test_a_misspelled_option_is_never_passed_over(place: Place, words: list[str]) -> None:
    with pytest.raises(Misconfigured):
        place.run("clean", *words)


def test_words_flags_and_settings_are_told_apart() -> None:
    line = ["a", "--yes", "--s3.endpoint=http://x", "b", "--insecure"]
    assert take_apart("delete", {"--yes"}, line) == (
        frozenset({"--yes"}), ("a", "b"), ["--s3.endpoint=http://x", "--insecure"],
    )  # fmt: skip


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"config", "key"}))
def test_no_store_is_made_by_the_way(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(uuid.uuid4())] if command == "delete" else []
    assert main([command, *words, f"--server.port={free_port()}"]) == 1
    said = capsys.readouterr()
    assert ("No server answers" in said.out) if command == "ping" else ("no local store" in said.err)
    assert list(tmp_path.iterdir()) == []


def test_every_command_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in out
