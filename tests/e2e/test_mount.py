"""``mount`` on whole sites: real server, real store, real FUSE, and the programs that people use on files."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pysam
import pytest

from score.testing.components import which
from score.testing.mounting import mounted
from score.testing.processes import on_small_disk
from score.testing.site import Registered, Site

pytestmark = pytest.mark.needs("fuse")

LENGTH = 500_000


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sorted BAM with its index beside it."""
    folder = tmp_path_factory.mktemp("reads")
    dice = random.Random(4)
    lines = ["@HD\tVN:1.6\tSO:coordinate", f"@SQ\tSN:chr1\tLN:{LENGTH}"]
    for number, at in enumerate(sorted(dice.sample(range(1, LENGTH - 100), 40_000))):
        bases, quality = "".join(dice.choices("ACGT", k=100)), "".join(dice.choices("ABCDEFGHI", k=100))
        lines.append(f"r{number}\t0\tchr1\t{at}\t60\t100M\t*\t0\t0\t{bases}\t{quality}")
    (folder / "reads.sam").write_text("\n".join(lines) + "\n")
    path = folder / "reads.bam"
    pysam.view("--no-PG", "-b", "-o", str(path), str(folder / "reads.sam"), catch_stdout=False)
    pysam.index(str(path))
    return path


@pytest.fixture
def point(tmp_path: Path) -> Path:
    folder = tmp_path / "point"
    folder.mkdir()
    return folder


def publish(site: Site, *paths: Path) -> Registered:
    registered = site.register(paths)
    site.run("upload", "--manifest", registered.manifest)
    site.publish(registered)
    return registered


def run(*command: str | Path) -> bytes:
    return subprocess.run([str(word) for word in command], capture_output=True, check=True).stdout


@pytest.mark.needs("samtools")
def test_programs_work_on_mounted_files(site: Site, reads: Path, point: Path, tmp_path: Path) -> None:
    registered = publish(site, reads, reads.with_name("reads.bam.bai"))
    samtools = which("samtools")
    assert samtools is not None
    with mounted(site.start("mount", "--mount-point", point), point):
        path = point / registered.analysis / "reads.bam"
        assert path in [Path(line) for line in run("find", point, "-name", "*.bam").decode().split("\n")]
        assert run("md5sum", path).split()[0].decode() == hashlib.md5(reads.read_bytes()).hexdigest()
        run("cp", "-r", point / registered.analysis, tmp_path / "copy")
        run("cmp", tmp_path / "copy" / "reads.bam", reads)
        dice = random.Random(5)
        starts = [dice.randrange(1, LENGTH) for _ in range(16)]
        regions = [f"chr1:{start}-{start + 2000}" for start in starts]

        def same(region: str) -> None:
            assert run(samtools, "view", path, region) == run(samtools, "view", reads, region)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(same, regions))


def test_an_unpublished_analysis_keeps_to_itself(
    site: Site, make_file: Callable[[str, int], Path], point: Path
) -> None:
    published = publish(site, make_file("one.bin", 100_000))
    other = site.register([make_file("two.bin", 100_000)])
    site.run("upload", "--manifest", other.manifest)
    with mounted(site.start("mount", "--mount-point", point), point) as client:
        hidden = point / other.analysis / "two.bin"
        assert hidden.stat().st_size == 100_000
        with pytest.raises(PermissionError):
            hidden.read_bytes()
        assert "two.bin: " in client.stderr
        assert (point / published.analysis / "one.bin").read_bytes() == published.paths[0].read_bytes()
        site.publish(other)
        assert hidden.read_bytes() == other.paths[0].read_bytes()


def test_a_server_that_goes_and_comes_back(site: Site, make_file: Callable[[str, int], Path], point: Path) -> None:
    registered = publish(site, make_file("one.bin", 12_000_000))
    data = registered.paths[0].read_bytes()
    with (
        mounted(site.start("mount", "--mount-point", point, storage_retryNumber="1000"), point) as client,
        open(point / registered.analysis / "one.bin", "rb", buffering=0) as file,
    ):
        assert file.read(1000) == data[:1000]
        site.store_proxy.shut()
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(os.pread, file.fileno(), 1000, 11_000_000)
            client.wait_until(lambda: "retry 1/" in client.stderr)
            site.store_proxy.open()
            assert rest.result() == data[11_000_000:11_001_000]
        with pytest.raises(OSError) as caught:
            os.open(point / "x", os.O_CREAT | os.O_WRONLY)
        assert caught.value.errno == errno.EROFS


@pytest.mark.needs("mounts")
def test_a_system_without_fuse(site: Site, point: Path) -> None:
    """It says what to do, before it asks anybody anything."""
    with site.start("mount", "--mount-point", point, prefix=on_small_disk(Path("/dev"), 1 << 20)) as client:
        done = client.conclude(2)
    assert "There is no /dev/fuse" in done.stderr
    assert "modprobe fuse" in done.stderr
    assert "--device /dev/fuse" in done.stderr
    assert not os.path.ismount(point)
