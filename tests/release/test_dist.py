"""What a release consists of: built from a tagged copy of this tree, looked into, installed, and run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from score.testing.processes import clean_environment

ROOT = Path(__file__).resolve().parents[2]
VERSION = "9.8.7"


def run(*command: str | Path, folder: Path, **more: str) -> str:
    """What a program printed; it must succeed."""
    environment = clean_environment(folder, {}) | {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull} | more
    environment.pop("PYTHONPATH", None)  # by which the sources would stand before what was installed
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def tracked() -> list[str]:
    """What git tracks, or would track, of this tree."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def commit(tree: Path) -> str:
    """Commit all of a tree; the commit as the programs show it."""
    run("git", "init", "-q", "-b", "main", folder=tree)
    run("git", "add", "-A", folder=tree)
    author = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    run("git", "commit", "-q", "--no-gpg-sign", "-m", "All of it", folder=tree, **author)
    return run("git", "rev-parse", "--short=12", "HEAD", folder=tree)


@dataclass(frozen=True)
class Release:
    """A built release, of which tree and commit."""

    tree: Path
    folder: Path
    commit: str

    def file(self, end: str) -> Path:
        """The one file of that kind."""
        (found,) = self.folder.glob(f"*{end}")
        return found


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    place = tmp_path_factory.mktemp("release")
    tree = place / "tree"
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    known = commit(tree)
    run("git", "tag", f"v{VERSION}", folder=tree)
    run(sys.executable, "tools/dist.py", place / "dist", folder=tree)
    return Release(tree, place / "dist", known)


def test_building_twice_gives_the_same_bytes(release: Release, tmp_path: Path) -> None:
    for path in release.tree.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            os.utime(path, (1, 1))
    run(sys.executable, "tools/dist.py", tmp_path, folder=release.tree)
    assert len(list(tmp_path.iterdir())) == 4
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (release.folder / path.name).read_bytes(), path.name
    for line in release.file("SHA256SUMS").read_text("utf-8").splitlines():
        told, name = line.split()
        assert told == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_the_wheel_has_the_package_and_nothing_else(release: Release) -> None:
    wheel = release.file(".whl")
    assert wheel.name == f"score_transfer-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = {name for name in names if name.startswith(f"score_transfer-{VERSION}.dist-info/")}
    ours = {name.removeprefix("src/") for name in tracked() if name.startswith("src/score/")}
    assert names - about == ours | {"score/_build.py"}
    assert "score/py.typed" in names
    assert f"score_transfer-{VERSION}.dist-info/licenses/LICENSE" in about


def test_the_sources_have_what_a_build_takes_and_no_tests(release: Release) -> None:
    with tarfile.open(release.file(".tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "src/score/py.typed", "docs/design.md"):
        assert name in names
    assert {name.partition("/")[0] for name in names} == {
        "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "PKG-INFO", "README.md", ".gitignore",
        "docs", "pyproject.toml", "requirements", "src", "tools",
    }  # fmt: skip


def test_the_wheel_runs_where_nothing_else_of_this_tree_is(release: Release, tmp_path: Path) -> None:
    """Its dependencies are those of this environment; the package itself is not, as it stands behind the wheel's."""
    run(sys.executable, "-m", "venv", "--without-pip", "venv", folder=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    options = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, release.file(".whl"), folder=tmp_path)
    (site,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    shown = f"{VERSION} (commit {release.commit})"
    binaries = python.parent
    assert run(binaries / "score-client", "--version", folder=tmp_path) == f"score-client {shown}"
    assert run(binaries / "score-client", "version", folder=tmp_path).startswith(f"score-client {shown} (Score ")
    assert run(binaries / "score-server", "--version", folder=tmp_path) == f"score-server {shown}"
    assert "upload" in run(binaries / "score-client", "help", folder=tmp_path)
    assert "s3.endpoint" in run(binaries / "score-server", "config", folder=tmp_path)
    code = "import fsspec, score; print(score.Client, score.__file__, fsspec.get_filesystem_class('score').protocol)"
    assert str(site / "score" / "__init__.py") in run(python, "-c", code, folder=tmp_path)


def test_the_bill_of_materials_is_valid_and_has_what_is_locked(release: Release) -> None:
    text = release.file(".cdx.json").read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    lock = (ROOT / "requirements" / "run.txt").read_text("utf-8").splitlines()
    pinned = {tuple(line.split()[0].split("==")) for line in lock if "==" in line}
    assert {(one["name"], one["version"]) for one in document["components"]} == pinned
    assert all(one["externalReferences"][0]["hashes"] for one in document["components"])
    component = document["metadata"]["component"]
    known = [component["bom-ref"], *(one["bom-ref"] for one in document["components"])]
    assert sorted(one["ref"] for one in document["dependencies"]) == sorted(set(known)) == sorted(known)
    assert (component["name"], component["version"]) == ("score-transfer", VERSION)
    (direct,) = [one["dependsOn"] for one in document["dependencies"] if one["ref"] == component["bom-ref"]]
    assert any(one.startswith("pkg:pypi/fastapi@") for one in direct)
    assert not any(one.startswith("pkg:pypi/starlette@") for one in direct)


def test_an_archive_that_a_code_host_makes_knows_its_version_and_commit(release: Release, tmp_path: Path) -> None:
    run("git", "archive", "-o", tmp_path / "archive.tar", f"v{VERSION}", folder=release.tree)
    with tarfile.open(tmp_path / "archive.tar") as archive:
        archive.extractall(tmp_path / "tree", filter="data")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, folder=tmp_path / "tree")
    with zipfile.ZipFile(tmp_path / f"score_transfer-{VERSION}-py3-none-any.whl") as wheel:
        assert f'"{release.commit}"' in wheel.read("score/_build.py").decode()


def test_a_tree_without_tags_and_one_without_git_have_versions(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE", "tools/build_hook.py", ".git_archival.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    named = {"SETUPTOOLS_SCM_PRETEND_VERSION": "1.2.3", "SCORE_COMMIT": "0123456789ab"}
    (tmp_path / "src" / "score").mkdir(parents=True)
    (tmp_path / "src" / "score" / "__init__.py").touch()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", folder=tmp_path, **named)
    with zipfile.ZipFile(tmp_path / "dist" / "score_transfer-1.2.3-py3-none-any.whl") as archive:
        assert '"0123456789ab"' in archive.read("score/_build.py").decode()
    assert run(sys.executable, "-m", "hatchling", "version", folder=tmp_path) == "0.1.dev0"
    commit(tmp_path)
    assert run(sys.executable, "-m", "hatchling", "version", folder=tmp_path) == "0.1.dev1"
    plugin = tomllib.loads((ROOT / "integrations/snakemake-storage-plugin-score/pyproject.toml").read_text("utf-8"))
    (needed,) = (text for text in plugin["project"]["dependencies"] if text.startswith("score-transfer"))
    assert Requirement(needed).specifier.contains("0.1.dev1"), "it is installed from such a tree, as its page says"


def test_a_checkout_shows_the_commit_that_is_checked_out(tmp_path: Path) -> None:
    """Also after commits that nobody installed anew."""
    head = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    for name in ("score-client", "score-server"):
        shown = run(Path(sys.executable).with_name(name), "--version", folder=tmp_path)
        assert shown.endswith(f"(commit {head})"), shown
