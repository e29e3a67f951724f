"""The same regions of objects as of local files, whatever the blocks and requests in which they come."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from score.client.client import Client
from score.errors import Conflict
from score.slicing.inputs import remote
from score.slicing.view import Request, view
from score.testing.score import FaultyScore
from score.testing.song import FakeSong

from .conftest import Files, Slice
from .test_same_as_samtools import READS, VARIANTS, some_region, written

EACH = 25
"""Regions for each of eight files."""
BLOCK = 16 * 1024


@pytest.fixture
def part_size() -> int:
    return 50_000


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client(block=BLOCK)


@pytest.fixture
def add(site: FaultyScore, song: FakeSong) -> Callable[[Path], str]:
    """Puts a file and its index in place; gives its object id."""

    def add(path: Path) -> str:
        analysis, found = str(uuid.uuid4()), ""
        for file in sorted(path.parent.glob(f"{path.name}*")):
            data = file.read_bytes()
            known = song.register(
                file.name, analysis=analysis, size=len(data), md5=hashlib.md5(data).hexdigest()
            ).object_id
            site.fake.add(known, data)
            found = known if file == path else found
        return found

    return add


@pytest.mark.parametrize("kind", [*READS, *VARIANTS])
def test_random_regions(
    kind: str, files: Files, slice_file: Slice, client: Client, add: Callable[[Path], str], tmp_path: Path
) -> None:
    dice = random.Random(f"remote {kind}")
    path = files.of(kind)
    object_id = add(path)
    some = 0
    for _ in range(EACH):
        regions = tuple(some_region(dice) for _ in range(dice.choice((1, 1, 1, 2, 5))))
        expected = written(slice_file(path, *regions))
        request = Request(queries=regions, output_dir=tmp_path / "remote", reference=files.reference)
        with remote(client, object_id, indexed=True) as item:
            assert written(view(item, request)) == expected, regions
        some += len(expected)
    assert some > 100


def test_an_object_that_is_replaced_meanwhile_leaves_no_half_of_each(
    files: Files, site: FaultyScore, client: Client, add: Callable[[Path], str], tmp_path: Path
) -> None:
    path = files.of("bam")
    object_id = add(path)
    request = Request(output_dir=tmp_path / "out", reference=files.reference)

    def run() -> None:
        with remote(client, object_id, indexed=True) as item:
            assert item.file.header is not None
            site.fake.add(object_id, path.read_bytes()[::-1])
            view(item, request)

    with pytest.raises(Conflict, match="replaced"):
        run()
    assert [found for found in (tmp_path / "out").glob("*") if found.stat().st_size] == []
