"""The client's memory does not grow with its files, nor with their parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
