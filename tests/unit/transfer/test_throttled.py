"""Every byte that moves passes the limit of its own way."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from score.protocol.wire import Part
from score.testing.score import FaultyScore
from score.transfer.bandwidth import Throttle, parse
from score.transfer.blocks import BlockPush, cut_blocks
from score.transfer.engine import Engine, SharedUrl, Urls
from score.transfer.fetch import Fetch
from score.transfer.files import Source, Target
from score.transfer.push import Push
from score.transfer.retry import Stop

OBJECT = "5c0eca11-0000-4000-8000-000000000001"
PART = 64 * 1024
DATA = random.Random(2).randbytes(2 * PART + 1000)
WHOLE = hashlib.md5(DATA).hexdigest()
STEP = 1024 * 1024 // 20
"""Bytes of the largest piece at 1 MiB a second."""


class Recording(Throttle):
    """Notes what passes it, and lets nobody wait."""

    def __init__(self, timetable: str) -> None:
        super().__init__(Stop(), parse(timetable))
        self.ups: list[int] = []
        self.downs: list[int] = []

    def up(self, count: int) -> None:
        self.ups.append(count)

    def down(self, count: int) -> None:
        self.downs.append(count)


Send = Callable[[FaultyScore, Engine, Path], str]


def in_parts(store: FaultyScore, engine: Engine, path: Path) -> str:
    parts = store.fake.begin(OBJECT, len(DATA))
    push = Push(engine, "a.bam", Source(path), Urls(parts, list), lambda *_: False)
    return push.send(parts, parts)


def in_blocks(store: FaultyScore, engine: Engine, path: Path) -> str:
    store.fake.part_size = len(DATA)
    blocks: list[Part] = cut_blocks(store.fake.begin(OBJECT, len(DATA)), PART)
    assert len(blocks) == 3
    push = BlockPush(engine, "a.bam", Source(path), SharedUrl(blocks, list), lambda *_: False)
    return push.send(blocks, blocks)


@pytest.mark.parametrize("send", [in_parts, in_blocks])
def test_what_is_sent(store: FaultyScore, engine: Engine, tmp_path: Path, send: Send) -> None:
    (tmp_path / "a.bam").write_bytes(DATA)
    throttle = Recording("1M:1b")
    assert send(store, replace(engine, throttle=throttle), tmp_path / "a.bam") == WHOLE
    assert (sum(throttle.ups), throttle.downs) == (len(DATA), [])
    assert max(throttle.ups) == STEP


def test_what_is_fetched(store: FaultyScore, engine: Engine, tmp_path: Path) -> None:
    store.fake.add(OBJECT, DATA)
    parts = store.fake.download_parts(OBJECT)
    target = Target(tmp_path / "a.bam", len(DATA))
    target.prepare()
    throttle = Recording("1b:1M")
    limited = replace(engine, throttle=throttle)
    fetch = Fetch(
        limited, "a.bam", target, Urls(parts, list), lambda part: None, lambda number: None, lambda span: parts[0]
    )
    assert fetch.receive(parts, [], WHOLE) == WHOLE
    assert (throttle.ups, sum(throttle.downs)) == ([], len(DATA))
    assert max(throttle.downs) == STEP
