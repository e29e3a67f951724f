"""Two files of one analysis to be uploaded, and what goes to and comes from a client."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from score.testing.song import FakeSong

from ..conftest import ANALYSIS, DATA, MD5, OBJECT, OTHER

OTHER_MD5 = hashlib.md5(b"other").hexdigest()
DOWNLOAD = ("download", "--output-dir", "out")
ANALYSED = ("--analysis-id", ANALYSIS, "--study-id", "TEST-CA")


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts bytes into standard input."""
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))


@pytest.fixture
def files(folder: Path, song: FakeSong) -> Path:
    """Two files of one analysis in a folder, not uploaded yet."""
    song.register("a.bam", analysis=ANALYSIS, object_id=OBJECT, size=len(DATA), md5=MD5)
    song.register("b.bam", analysis=ANALYSIS, object_id=OTHER, size=5, md5=OTHER_MD5)
    (folder / "in" / "lane").mkdir(parents=True)
    (folder / "in" / "a.bam").write_bytes(DATA)
    (folder / "in" / "lane" / "b.bam").write_bytes(b"other")
    return folder / "in"


def records(out: str) -> list[dict[str, object]]:
    """The documents on standard output, which holds nothing else."""
    return [json.loads(line) for line in out.splitlines()]
