"""A file at hand, and ways to look at what was asked and told while it is sent."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path

import pytest

from score.errors import ScoreError
from score.testing.score import FaultyScore
from score.transfer.events import Checked

ANALYSIS = "a11aca11-0000-4000-8000-000000000001"
OBJECT = "5c0eca11-0000-4000-8000-000000000001"
OTHER = "5c0eca11-0000-4000-8000-000000000002"
PART = 64 * 1024
DATA = random.Random(2).randbytes(5 * PART + 1000)
MD5 = hashlib.md5(DATA).hexdigest()
WRONG = "0" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.bam"
    path.write_bytes(DATA)
    return path


def calls(site: FaultyScore) -> list[str]:
    """What was asked of the server, without parts."""
    seen = (f"{exchange.method} {exchange.path}?{exchange.query}" for exchange in site.traffic.seen(path="^/upload/"))
    return [call.replace(OBJECT, "ID").rstrip("?") for call in seen if "/parts" not in call]


def in_thread(work: object, *arguments: object, **options: object) -> tuple[threading.Thread, list[object]]:
    """Run something that may raise an error of Score; its end is in the list when the thread is through."""
    ends: list[object] = []

    def run() -> None:
        try:
            ends.append(work(*arguments, **options))  # type: ignore[operator]
        except ScoreError as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ends


def checked(site: FaultyScore) -> int:
    """Bytes that were read to be compared only, as it was told."""
    return sum(event.count for event in site.heard.of(Checked))
