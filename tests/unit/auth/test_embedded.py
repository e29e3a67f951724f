"""Embedded keys, and the command that makes them."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from score.auth.embedded import EmbeddedKeys, KeyFile
from score.errors import Invalid, Misconfigured, NotFound, Unauthenticated
from score.protocol.ids import is_uuid
from score.server.commands import take_options
from score.server.commands.key import end_of
from score.server.main import main

NOW = 1_700_000_000.0
Run = Callable[..., tuple[int, str, str]]


def owner(path: Path, key: str, now: float = NOW) -> set[str]:
    """The scopes of a key."""

    async def ask() -> set[str]:
        keys = EmbeddedKeys(path, lambda: now)
        try:
            return set((await keys.identify(key)).scopes)
        finally:
            await keys.close()

    return asyncio.run(ask())


def end(path: Path, key: str) -> float | None:
    """When a key ends, as who remembers it is told."""

    async def ask() -> float | None:
        keys = EmbeddedKeys(path, lambda: NOW)
        try:
            return (await keys.identify(key)).expires
        finally:
            await keys.close()

    return asyncio.run(ask())


def made(path: Path, *scopes: str, expires: float | None = None) -> str:
    file = KeyFile(path, lambda: NOW)
    try:
        return file.create("a pipeline", scopes, expires)
    finally:
        file.close()


def test_a_key_has_its_scopes(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys"
    key = made(path, "score.READ", "PROGRAMDATA-A.WRITE")
    assert is_uuid(key)
    assert owner(path, key) == {"score.READ", "PROGRAMDATA-A.WRITE"}
    for other in (made(tmp_path / "others", "score.READ"), key.upper().replace("-", ""), key + "0", ""):
        with pytest.raises(Unauthenticated):
            owner(path, other)


def test_it_ends_when_it_expires_or_is_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    short, long = made(path, "a.READ", expires=NOW + 10), made(path, "a.READ")
    assert owner(path, short, NOW + 9.9) == {"a.READ"}
    assert (end(path, short), end(path, long)) == (NOW + 10, None)
    with pytest.raises(Unauthenticated):
        owner(path, short, NOW + 10)
    assert owner(path, long, NOW + 1e9) == {"a.READ"}
    file = KeyFile(path, lambda: NOW + 5)
    first = file.revoke(long)
    assert file.revoke(first.fingerprint).revoked == NOW + 5
    assert [record.state(NOW + 10) for record in file.records()] == ["expired", "revoked"]
    with pytest.raises(NotFound):
        file.revoke("0123456789ab")
    file.close()
    with pytest.raises(Unauthenticated):
        owner(path, long)


def test_the_file_is_the_owners_and_holds_no_key(tmp_path: Path) -> None:
    """Claim: the file of keys is readable by its owner alone, and no key can be read off it."""
    path = tmp_path / "folder" / "keys"
    key = made(path, "score.WRITE")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    raw = path.read_bytes()
    for secret in (key, key.replace("-", ""), key[:18]):
        assert secret.encode() not in raw
    assert bytes.fromhex(key.replace("-", "")) not in raw


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True), (0o622, True)])
def test_a_file_of_others_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    path = tmp_path / "keys"
    made(path)
    path.chmod(mode)
    made(path)
    assert (f"chmod 600 {path}" in caplog.text) is warned


def test_keys_are_found_by_their_hash(tmp_path: Path) -> None:
    """Claim: looking up a key compares hashes, by an index: its time says nothing of the keys that there are."""
    path = tmp_path / "keys"
    made(path, "a.READ")
    with sqlite3.connect(path) as db:
        (row,) = db.execute("EXPLAIN QUERY PLAN SELECT * FROM key WHERE hash = ?", (b"",)).fetchall()
    db.close()
    assert "USING INDEX" in row[3]


def test_no_key_is_given_to_the_database(tmp_path: Path) -> None:
    """Claim: a key is compared by its SHA-256, never letter by letter."""
    key = made(tmp_path / "keys", "a.READ")
    said: list[str] = []
    file = KeyFile(tmp_path / "keys")
    file._connection.set_trace_callback(said.append)
    assert file.owner(key)
    file.close()
    assert said
    assert key not in "".join(said)


@pytest.mark.parametrize(
    ("subject", "scopes"), [("", ["a"]), ("x\ny", ["a"]), ("x", [""]), ("x", ["a b"]), ("x", ["\0"])]
)
def test_what_makes_no_key(tmp_path: Path, subject: str, scopes: list[str]) -> None:
    file = KeyFile(tmp_path / "keys")
    with pytest.raises(Invalid):
        file.create(subject, scopes)
    assert file.records() == []
    file.close()


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(Misconfigured, match="text"):
        KeyFile(tmp_path / "text")
    with pytest.raises(Misconfigured):
        KeyFile(tmp_path)


def test_the_probe_says_what_to_do(tmp_path: Path) -> None:
    async def look() -> str:
        keys = EmbeddedKeys(tmp_path / "keys")
        try:
            return await keys.probe()
        finally:
            await keys.close()

    assert "score-server key create" in asyncio.run(look())
    made(tmp_path / "keys", "a.READ")
    assert asyncio.run(look()) == ""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["key", *words, "--spring.profiles.active=local,secure"])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_the_command_makes_lists_and_revokes_keys(run: Run, tmp_path: Path) -> None:
    status, out, err = run("create", "the pipeline", "--scope", "score.READ", "--scope=PROGRAMDATA-A.WRITE,x.Y")
    assert status == 0
    key = out.strip()
    assert is_uuid(key), "standard output has the key and nothing else"
    assert key not in err
    assert "x.Y gives nothing" in err
    assert "score.READ gives" not in err
    assert "PROGRAMDATA-A.WRITE gives" not in err
    path = tmp_path / "score-data" / "keys.sqlite3"
    assert owner(path, key) == {"score.READ", "PROGRAMDATA-A.WRITE", "x.Y"}
    _, listed, _ = run("list")
    assert re.search(r"^[0-9a-f]{12}  valid  .*expires never  the pipeline: score.READ", listed, re.MULTILINE)
    assert key not in listed
    status, out, _ = run("revoke", listed.split()[0])
    assert status == 0
    assert "revoked" in out
    assert "30 s" in out
    with pytest.raises(Unauthenticated):
        owner(path, key)


@pytest.mark.parametrize(
    "words",
    [
        [], ["create"], ["create", "x"], ["create", "x", "--scope"], ["create", "x", "--scope="], ["nonsense"],
        ["create", "x", "--scope=a", "--expires=soon"], ["create", "x", "--scope=a", "--expires=2001-01-01"],
        ["create", "x", "--scope=a b"], ["create", "x", "--scope=a", "--unknown=1"], ["list", "--scope=a"],
        ["revoke", "0123456789ab"], ["create", "x", "--scope", "--expires=1d"],
    ],
)  # fmt: skip
def test_misuse_of_the_command(run: Run, words: list[str], tmp_path: Path) -> None:
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert err.startswith("score-server: ")


def test_ends_of_keys() -> None:
    assert end_of("30d", NOW) == NOW + 30 * 86400
    assert end_of("12h", NOW) == NOW + 12 * 3600
    assert end_of("2w", NOW) == NOW + 14 * 86400
    assert end_of("2030-01-31", NOW) == datetime(2030, 1, 31, tzinfo=UTC).timestamp()
    for wrong in ("", "0d", "-1d", "1y", "2030-13-01", "2020-01-01", "١d"):
        with pytest.raises(Misconfigured):
            end_of(wrong, NOW)


def test_options_with_values() -> None:
    found, rest = take_options({"--scope"}, ["a", "--scope", "b", "--scope=c=d", "--other=e"])
    assert found == {"--scope": ("b", "c=d")}
    assert rest == ["a", "--other=e"]
