"""The rules by which tests with real components are skipped, named and required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from score.errors import Misconfigured
from score.testing.components import find, required

SUITE = """
import pytest

@pytest.mark.needs("minio")
def test_with_one():
    pass

@pytest.mark.needs("minio", "keycloak")
def test_with_two():
    pass

def test_with_none():
    pass
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with MinIO in it and no other program on PATH."""
    program = tmp_path / "cache" / "bin" / "minio"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("SCORE_COMPONENTS", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("SCORE_REQUIRE", raising=False)
    return tmp_path / "cache"


def run_suite(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = needs(*names): components\n")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "score.testing.pytest_plugin",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_component_is_found_in_the_cache(cache: Path) -> None:
    assert find("minio") == cache / "bin" / "minio"
    assert find("keycloak") is None


def test_a_component_is_found_on_the_path(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORE_COMPONENTS", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PATH", str(cache / "bin"))
    assert find("minio") == cache / "bin" / "minio"


def test_all_requires_everything_and_a_list_requires_what_it_names() -> None:
    assert required("") == frozenset()
    assert required("minio, ceph") == {"minio", "ceph"}
    assert {"minio", "keycloak", "fuse"} <= required("all")
    with pytest.raises(Misconfigured, match="mino"):
        required("mino")


@pytest.mark.usefixtures("cache")
def test_what_is_absent_is_skipped_and_named(tmp_path: Path) -> None:
    ran = run_suite(tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed, 1 skipped" in ran.stdout
    assert "keycloak: 1 test skipped. Run: make components" in ran.stdout


@pytest.mark.usefixtures("cache")
def test_workers_name_it_too(tmp_path: Path) -> None:
    ran = run_suite(tmp_path, "-n2")
    assert "keycloak: 1 test skipped. Run: make components" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("names", ["all", "keycloak"])
def test_what_is_required_fails(tmp_path: Path, names: str) -> None:
    ran = run_suite(tmp_path, SCORE_REQUIRE=names)
    assert ran.returncode == 1
    assert "needs keycloak, required by SCORE_REQUIRE" in ran.stdout
    assert "2 passed, 1 error" in ran.stdout


@pytest.mark.usefixtures("cache")
def test_what_is_absent_but_not_required_is_still_skipped(tmp_path: Path) -> None:
    assert run_suite(tmp_path, SCORE_REQUIRE="minio").returncode == 0


@pytest.mark.usefixtures("cache")
def test_a_misspelt_requirement_stops_the_run(tmp_path: Path) -> None:
    ran = run_suite(tmp_path, SCORE_REQUIRE="mino")
    assert ran.returncode == 4
    assert "mino" in ran.stderr
