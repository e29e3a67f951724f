"""The audit of the dependencies: what it finds wrong, and that nobody to ask is no failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
HASH = f"--hash=sha256:{'0a' * 32}"


@pytest.fixture(scope="module")
def audit(tool: Callable[[str], ModuleType]) -> ModuleType:
    return tool("audit")


def test_our_locks_are_good(audit: ModuleType) -> None:
    locks = list((ROOT / "requirements").glob("*.txt"))
    assert locks
    for lock in locks:
        assert len(list(audit.requirements(lock.read_text()))) > 8
        assert list(audit.check_lock(lock.name, lock.read_text())) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aiohttp>=3\n", "not one version"),
        ("-e ../x\n", "not one version"),
        ("git+https://example.org/x\n", "not one version"),
        (f"aiohttp @ https://example.org/x {HASH}\n", "not one version"),
        ("aiohttp==3.1\n", "aiohttp 3.1 has no hash"),
        ("aiohttp==3.1 \\\n    --hash=md5:00\n", "has no hash"),
        (f"aiohttp==3.1 \\\n    {HASH} --index-url=https://example.org\n", "which is no hash"),
    ],
)
def test_a_lock_that_leaves_something_open(audit: ModuleType, text: str, said: str) -> None:
    (problem,) = audit.check_lock("x.txt", f"# comment\n{text}    # via y\n")
    assert said in problem


def test_what_is_installed_is_what_is_locked(audit: ModuleType) -> None:
    from importlib.metadata import version

    good = f"pytest=={version('pytest')} {HASH}\n"
    assert list(audit.check_installed(good)) == []
    assert list(audit.check_installed(f"none-such==1 ; sys_platform == 'win32' {HASH}\n")) == []
    (missing,) = audit.check_installed(f"none-such==1 {HASH}\n")
    assert "not installed" in missing
    (other,) = audit.check_installed(f"pytest==0.1 {HASH}\n")
    assert "0.1 is locked" in other


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ('echo \'{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}\'', 0, "pip-audit was asked"),
        (
            'echo \'{"dependencies": [{"name": "a", "version": "1", "vulns":'
            ' [{"id": "CVE-1", "fix_versions": ["2"]}]}]}\'; exit 1',
            1,
            "a 1: CVE-1, mended in 2",
        ),
        ("echo 'no network' >&2; exit 1", 0, "could not tell"),
    ],
)
def test_pip_audit_where_it_is(
    audit: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
    status: int,
    said: str,
) -> None:
    (tmp_path / "pip-audit").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "pip-audit").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    assert audit.main() == status
    assert said in capsys.readouterr().out
