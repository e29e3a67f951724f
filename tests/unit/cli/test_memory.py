"""The client's memory does not grow with its files, nor with their parts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from score.client.manifests import DOWNLOAD_HEADER
from score.protocol.parts import MIB
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

OBJECT = "5c0eca11-0000-4000-8000-000000000020"
PART = 20 * MIB
PARTS = 6
CODE = (
    "import sys\nfrom score.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
    "    print(open('/proc/self/status').read().split('VmHWM:')[1])"
)
BOUND = 110 * MIB
"""Bytes: about twice what the program takes for itself; the parts alone would be more."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
@pytest.mark.parametrize("command", ["upload", "download"])
def test_parts_pass_through_small_buffers(folder: Path, site: FaultyScore, song: FakeSong, command: str) -> None:
    song.register("a.bam", analysis=OBJECT, object_id=OBJECT, size=PART * PARTS)
    site.fake.part_size = PART
    if command == "upload":
        with (folder / "a.bam").open("wb") as file:
            file.truncate(PART * PARTS)
        words = ["upload", "--object-id", OBJECT, "--file", "a.bam"]
    else:
        site.fake.add(OBJECT, bytes(PART * PARTS))
        words = ["download", "--object-id", OBJECT, "--output-dir", "out"]
    ended = subprocess.run(
        [sys.executable, "-c", CODE, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=True
    )
    assert len(site.puts if command == "upload" else site.gets) == PARTS
    assert int(ended.stdout.split()[0]) * 1024 < BOUND


def lines_to_upload(lines: int) -> Iterator[str]:
    yield f"{OBJECT}\t\t\n"
    for number in range(lines):
        yield f"5c0eca11-0000-4000-8000-{number:012}\tnone/sample_{number}.bam\t{number:032x}\n"


def lines_to_download(lines: int) -> Iterator[str]:
    yield "\t".join(DOWNLOAD_HEADER) + "\n"
    for number in range(lines):
        rest = f"BAM\tsample_{number}.bam\t{number}\t{'0' * 32}\t\tDO{number}\tPR\tTEST-CA"
        yield f"aws\tFI{number}\t5c0eca11-0000-4000-8000-{number:012}\t{rest}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
@pytest.mark.parametrize("make", [lines_to_upload, lines_to_download])
def test_manifests_are_read_line_by_line(folder: Path, make: Callable[[int], Iterator[str]]) -> None:
    lines = 200_000
    code = CODE.replace("split('VmHWM:')[1])", "split('VmHWM:')[1].split()[0], file=sys.stderr)")
    peaks = []
    for count in (1, lines):
        with (folder / "m.tsv").open("w") as file:
            file.writelines(make(count))
        with (folder / "out").open("wb") as out:
            ended = subprocess.run(
                [sys.executable, "-c", code, "manifest", "--manifest", "m.tsv"],
                cwd=folder,
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                timeout=120,
                check=True,
            )
        assert (folder / "out").stat().st_size == (folder / "m.tsv").stat().st_size
        *_, said, peak = ended.stderr.splitlines()
        assert f"{count} {'file' if make is lines_to_upload else 'object'}s" in said
        peaks.append(int(peak) * 1024)
    assert peaks[1] - peaks[0] < 120 * lines
