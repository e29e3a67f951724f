"""Long lists in little memory."""

from __future__ import annotations

import pathlib
import tracemalloc
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from score.client.layout import Claims
from score.client.manifest_source import Source
from score.client.manifests import UploadEntry, packed_entries, parse_download, parse_upload
from score.client.many import Once
from score.client.packed import BLOCK, Known, Packed, packed_ids
from score.client.shards import share
from score.errors import Invalid

LINES = 40_000
TEXTS = st.lists(st.text(st.characters(exclude_characters="\0"), max_size=20), max_size=60)


def id_of(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


@given(TEXTS)
def test_what_is_kept_comes_back_in_its_order(texts: list[str]) -> None:
    kept = Packed(str, str, texts)
    assert len(kept) == len(texts)
    assert list(kept) == list(kept) == texts


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_about_as_many_as_are_compressed_together(count: int) -> None:
    kept = Packed(str, int, range(count))
    assert len(kept) == count
    assert list(kept) == list(range(count))


@pytest.mark.parametrize("path", ["a\tb\n", "\udcff\ud800", "Größe Ω.bam", "-"])
def test_entries_of_any_path(path: str) -> None:
    entries = [UploadEntry(id_of(1), path, ""), UploadEntry(id_of(2), Path(path, path), "0" * 32)] * BLOCK
    assert list(packed_entries(entries)) == entries


@given(TEXTS)
@example(["\ud800", "\udcff"])
def test_texts_are_known_as_those_of_a_set(texts: list[str]) -> None:
    known, model = Known(), set[str]()
    for at, text in enumerate(texts):
        assert (text in known) == (text in model)
        assert (known.add(text) is None) == (text not in model)
        model.add(text)
        if at % 3 == 0:
            known.discard(texts[at // 2])
            model.discard(texts[at // 2])
        assert len(known) == len(model)


@pytest.mark.parametrize("width", [0, 1, 16])
def test_very_many_are_told_apart(width: int) -> None:
    known = Known(width)
    for number in range(20_000):
        assert known.add(str(number), bytes([number % 256]) * width) is None
    assert all(known.add(str(number)) == bytes([number % 256]) * width for number in range(20_000))
    assert "20000" not in known
    for number in range(0, 20_000, 2):
        known.discard(str(number))
    assert [number for number in range(20_000) if str(number) in known] == list(range(1, 20_000, 2))


def test_what_is_kept_of_a_text_has_a_size_of_its_own() -> None:
    with pytest.raises(ValueError, match="3 bytes instead of 2"):
        Known(2).add("a", b"abc")


def test_ids_are_kept_once_and_looked_at() -> None:
    assert list(packed_ids([id_of(2), id_of(1), id_of(2)])) == [id_of(2), id_of(1)]
    with pytest.raises(Invalid, match="'x' is not an object id"):
        packed_ids([id_of(1), "x"])


def upload_manifest() -> object:
    lines = (f"{id_of(at)}\t/data/run/sample_{at:08}.bam\t{uuid.UUID(int=at).hex}" for at in range(LINES))
    return parse_upload(Source.of("\n".join(["a", *lines]).encode(), "m")).entries


def download_manifest() -> object:
    lines = (f"{id_of(at)}\t{at}" for at in range(LINES))
    return parse_download(Source.of("\n".join(["object_id\tfile_size", *lines]).encode(), "m")).objects


def one_of_two_shares() -> object:
    return share(((id_of(at), at) for at in range(LINES)), 1, 2)


def owners() -> object:
    claims = Claims()
    for at in range(LINES):
        claims.claim(Path("/data/out", f"sample_{at}.bam"), id_of(at))
    return claims


def begun() -> object:
    once = Once()
    for at in range(LINES):
        once.begin(id_of(at))
    return once


@pytest.mark.parametrize(
    ("make", "most"),
    [(upload_manifest, 40), (download_manifest, 30), (one_of_two_shares, 26), (owners, 56), (begun, 36)],
)
def test_bytes_that_a_line_of_a_manifest_takes_for_the_rest_of_a_run(make: Callable[[], object], most: int) -> None:
    # A table of Python, whose size is left by short-lived paths; some versions have a folder of that name.
    interned = tracemalloc.Filter(False, f"{pathlib.__file__.removesuffix('.py').removesuffix('/__init__')}*")
    tracemalloc.start()
    try:
        kept = make()
        found = tracemalloc.take_snapshot().filter_traces([interned])
    finally:
        tracemalloc.stop()
    assert sum(trace.size for trace in found.traces) / LINES < most, kept
