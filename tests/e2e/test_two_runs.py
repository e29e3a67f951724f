"""Two runs of the client at once on the same object: the second one says who has it, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from score.protocol.parts import MIB
from score.testing.site import Registered, Site, md5_of

PART = 5 * MIB
REFUSED = 3

Maker = Callable[[str, int], Path]
locally = pytest.mark.parametrize("site", ["local"], indirect=True)


def arguments(command: str, files: Registered, out: Path) -> list[str | Path]:
    """The words of a command that moves the files."""
    if command == "upload":
        return ["upload", "--manifest", files.manifest]
    return ["download", "--object-id", *files.ids, "--output-dir", out]


@pytest.fixture(params=["upload", "download"])
def command(request: pytest.FixtureRequest) -> str:
    """Either way."""
    return str(request.param)


@pytest.fixture
def files(site: Site, make_file: Maker, command: str) -> Registered:
    """A registered file of three parts; for a download it is in the store already."""
    files = site.register([make_file("reads.bam", 2 * PART + 1000)])
    if command == "download":
        site.run("upload", "--manifest", files.manifest)
        site.publish(files)
        site.score.forget()
    return files


@locally
def test_the_second_run_says_who_has_it(site: Site, files: Registered, command: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    method = "PUT" if command == "upload" else "GET"
    gate = site.store.hold(method=method, path=site.path_of(files.id), after=1000)
    with site.start(*arguments(command, files, out)) as first:
        gate.wait_for_arrival()
        result = site.run(*arguments(command, files, out), status=REFUSED)
        assert f"process {first.pid} on " in result.stderr
        assert "run the same command again" in result.stderr
        assert "reads.bam" in result.stderr
        gate.open()
        first.conclude()
    moved = site.sent(files.id) if command == "upload" else site.fetched(files.id)
    assert len(moved) == 3
    site.run(*arguments(command, files, out))
    if command == "download":
        assert md5_of(out / "reads.bam") == md5_of(files.paths[0])
        assert [path.name for path in out.iterdir()] == ["reads.bam"]
    else:
        assert site.has_object(files.id)
        assert [path.name for path in files.paths[0].parent.iterdir()] == ["reads.bam"]


@locally
def test_a_lock_that_a_killed_run_left_is_no_obstacle(
    site: Site, files: Registered, command: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    folder = files.paths[0].parent if command == "upload" else out
    method = "PUT" if command == "upload" else "GET"
    gate = site.store.hold(method=method, path=site.path_of(files.id), after=1000)
    with site.start(*arguments(command, files, out)) as first:
        gate.wait_for_arrival()
        first.kill()
    left = folder / f".{files.id}.lock"
    assert json.loads(left.read_bytes())["pid"] == first.pid
    assert left.stat().st_mode & 0o777 == 0o600
    site.heal()
    site.run(*arguments(command, files, out))
    assert not left.exists()
    assert not (folder / f".{files.id}").exists()


@locally
def test_runs_on_different_objects_share_a_folder(site: Site, make_file: Maker, tmp_path: Path) -> None:
    """The tasks of a job array, each with its share of the objects."""
    files = site.register([make_file(name, PART + 1) for name in ("a.bam", "b.bam")])
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    gate = site.store.hold(method="GET", path=f"^{site.objects}.*({'|'.join(files.ids)})$", after=1000)
    out = tmp_path / "out"
    first, second = (["download", "--object-id", one, "--output-dir", out, "--index", "false"] for one in files.ids)
    with site.start(*first) as one, site.start(*second) as two:
        site.store.wait(lambda seen: len({x.path for x in seen if x.range and x.method == "GET"}) >= 2)
        gate.open()
        one.conclude()
        two.conclude()
    assert sorted(path.name for path in out.iterdir()) == ["a.bam", "b.bam"]
