"""The examples for job arrays, run as Slurm and Kubernetes would run them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from score.testing.faults import Gate
from score.testing.processes import Program, clean_environment, program
from score.testing.site import Registered, Site, md5_of

DEPLOY = Path(__file__).parents[2] / "deploy"
TASKS = 3

Maker = Callable[[str, int], Path]
pytestmark = pytest.mark.parametrize("site", ["local"], indirect=True)


@pytest.fixture
def files(site: Site, make_file: Maker) -> Registered:
    return site.register([make_file(f"{number}.txt", 10_000 + number) for number in range(7)])


@pytest.fixture
def wanted(files: Registered, tmp_path: Path) -> Path:
    """A manifest to download by, with the columns that count."""
    lines = ["object_id\tfile_name\tfile_size\tmd5_sum"]
    for identity, path in zip(files.ids, files.paths, strict=True):
        lines.append(f"{identity}\t{path.name}\t{path.stat().st_size}\t{md5_of(path)}")
    manifest = tmp_path / "wanted.txt"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def environment(site: Site, **more: str) -> dict[str, str]:
    """Where the site is, and score-client on the path."""
    path = f"{Path(program('score-client')).parent}{os.pathsep}{os.environ['PATH']}"
    addresses = {"STORAGE_URL": site.url, "METADATA_URL": site.registry_url}
    return clean_environment(site.folder) | {"PATH": path, **addresses, **more}


def task(number: int, count: int = TASKS) -> dict[str, str]:
    """What Slurm tells a task of an array."""
    return {
        "SLURM_ARRAY_JOB_ID": "77",
        "SLURM_ARRAY_TASK_ID": str(number),
        "SLURM_ARRAY_TASK_COUNT": str(count),
    }


def run(command: list[str], folder: Path, given: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_slurm_tasks_share_an_upload_and_a_download(
    site: Site, files: Registered, wanted: Path, tmp_path: Path
) -> None:
    upload, download = (str(DEPLOY / "slurm" / f"{name}.sbatch") for name in ("upload", "download"))
    for number in range(1, TASKS + 1):
        run(["sh", upload, str(files.manifest)], tmp_path, environment(site, **task(number)))
    assert len(list(tmp_path.glob("report-upload-77-*.tsv"))) == TASKS
    site.publish(files)
    out = tmp_path / "out"
    for number in range(1, TASKS + 1):
        run(["sh", download, str(wanted), str(out)], tmp_path, environment(site, **task(number)))
    assert {path.name: md5_of(path) for path in out.glob("*.txt")} == {p.name: md5_of(p) for p in files.paths}
    lines = [path.read_text().splitlines()[1:] for path in sorted(out.glob("report-*.tsv"))]
    assert [len(one) > 0 for one in lines] == [True] * TASKS
    assert sum(map(len, lines)) == len(files.paths)


@pytest.fixture
def slurm(site: Site, tmp_path: Path) -> dict[str, str]:
    """The environment of the only task of an array, where ``scontrol`` notes what it is asked for in ``requeued``."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/requeued\n')
    (tools / "scontrol").chmod(0o755)
    given = environment(site, **task(1, 1))
    return given | {"PATH": f"{tools}{os.pathsep}{given['PATH']}"}


def end_and_go_on(command: list[str], folder: Path, gate: Gate, given: dict[str, str]) -> None:
    """Run a script whose time is over when something arrives at ``gate``, and once more."""
    with Program(command, folder / "job", given) as job:
        gate.wait_for_arrival()
        assert job.terminate() == 130
    gate.open()
    assert (folder / "requeued").read_text() == "requeue 77_1\n"
    run(command, folder, given)


def test_a_slurm_task_whose_time_is_over_tells_the_client(
    site: Site, files: Registered, wanted: Path, slurm: dict[str, str], tmp_path: Path
) -> None:
    """And is put into the queue again; there it goes on."""
    upload = ["sh", str(DEPLOY / "slurm" / "upload.sbatch"), str(files.manifest)]
    end_and_go_on(upload, tmp_path, site.store.hold(method="PUT", after=100), slurm)
    site.publish(files)
    (tmp_path / "requeued").unlink()
    out = tmp_path / "out"
    download = ["sh", str(DEPLOY / "slurm" / "download.sbatch"), str(wanted), str(out)]
    end_and_go_on(download, tmp_path, site.store.hold(method="GET", after=100), slurm)
    assert {path.name: md5_of(path) for path in out.glob("*.txt")} == {p.name: md5_of(p) for p in files.paths}


def test_kubernetes_pods_share_a_download(site: Site, files: Registered, wanted: Path, tmp_path: Path) -> None:
    site.run("upload", "--manifest", files.manifest)
    site.publish(files)
    job = yaml.safe_load((DEPLOY / "kubernetes" / "jobs" / "download.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (script,) = container["args"]
    (tasks,) = (one["value"] for one in container["env"] if one["name"] == "TASKS")
    assert int(tasks) == job["spec"]["completions"]
    out = tmp_path / "data"
    out.mkdir()
    script = script.replace("/manifest/manifest.txt", str(wanted)).replace("/data", str(out))
    for index in range(TASKS):
        given = environment(site, JOB_COMPLETION_INDEX=str(index), TASKS=str(TASKS))
        run([*container["command"], script], tmp_path, given)
    assert {path.name: md5_of(path) for path in out.glob("*.txt")} == {p.name: md5_of(p) for p in files.paths}
    assert len(list(out.glob("report-*.tsv"))) == TASKS
