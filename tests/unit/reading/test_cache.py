"""The bounded cache of blocks."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from score.reading.cache import BlockCache


@pytest.fixture
def make() -> Iterator[Callable[..., BlockCache]]:
    with ExitStack() as stack:

        def made(memory: int, disk: int = 0, folder: Path | None = None) -> BlockCache:
            cache = BlockCache(memory, 100, disk, folder)
            stack.callback(cache.close)
            return cache

        yield made


def block(number: int) -> bytes:
    return bytes([number % 256]) * 100


def test_memory_is_bounded_and_the_longest_unused_leaves_first(make: Callable[..., BlockCache]) -> None:
    cache = make(300)
    for number in range(3):
        cache.put(number, block(number))
    assert cache.get(0) == block(0)
    cache.put(3, block(3))
    assert cache.used == 300
    assert [number for number in range(4) if cache.holds(number)] == [0, 2, 3]
    assert cache.get(1) is None


def test_a_block_put_twice_counts_once(make: Callable[..., BlockCache]) -> None:
    cache = make(300)
    for _ in range(10):
        cache.put("a", block(1))
    assert cache.used == 100


def test_what_falls_out_of_memory_is_found_on_the_disk_as_far_as_there_is_room(
    make: Callable[..., BlockCache], tmp_path: Path
) -> None:
    cache = make(200, 500, tmp_path)
    for number in range(10):
        cache.put(number, block(number)[: 100 - number])
    found = {number: cache.get(number) for number in range(10) if cache.holds(number)}
    assert found == {number: block(number)[: 100 - number] for number in range(3, 10)}
    assert cache.used <= 200


def test_the_file_has_no_name(make: Callable[..., BlockCache], tmp_path: Path) -> None:
    cache = make(100, 1000, tmp_path)
    cache.put(1, block(1))
    cache.put(2, block(2))
    assert list(tmp_path.iterdir()) == []
    assert cache.get(1) == block(1)
    cache.close()
    assert cache.get(1) is None


def test_a_disk_that_takes_nothing_costs_only_speed(make: Callable[..., BlockCache], tmp_path: Path) -> None:
    cache = make(100, 1000, tmp_path)
    assert cache._disk is not None
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, cache._disk._file.fileno())
    os.close(full)
    cache.put(1, block(1))
    cache.put(2, block(2))
    assert cache.get(2) == block(2)
    assert cache.get(1) is None


def test_dropped_blocks_are_gone_everywhere(make: Callable[..., BlockCache], tmp_path: Path) -> None:
    cache = make(100, 1000, tmp_path)
    cache.put(1, block(1))
    cache.put(2, block(2))
    for number in (1, 2):
        cache.drop(number)
        assert not cache.holds(number)
    assert cache.used == 0


def test_many_threads(make: Callable[..., BlockCache], tmp_path: Path) -> None:
    cache = make(1000, 1000, tmp_path)
    wrong: list[int] = []

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(2000):
            number = dice.randrange(40)
            if dice.random() < 0.5:
                cache.put(number, block(number))
            elif cache.get(number) not in (None, block(number)):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.used <= 1000
