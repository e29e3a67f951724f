"""Download specifications: whole objects, ranges, and objects of other tools. On a local store."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score.broker.downloads import DownloadRules, Downloads, Request
from score.broker.listing import Listing
from score.broker.state import Layout
from score.errors import Conflict, Invalid, NotFound, Refused, ScoreError
from score.protocol.parts import Span
from score.protocol.wire import Listed, Part, Specification, from_json, to_json
from score.storage.base import ObjectStat
from score.storage.local import LocalStore

MIB = 1024 * 1024
OBJECT = "5c0e0000-0000-4000-8000-000000000001"
LAYOUT = Layout()
DATA = bytes(range(256)) * 4096 * 11  # 11 MiB
MD5 = hashlib.md5(DATA).hexdigest()
MD5_BASE64 = base64.b64encode(bytes.fromhex(MD5)).decode()

Test = Callable[["Shelf"], Awaitable[None]]


class Shelf:
    """A store with one object of 11 MiB, with or without ``.meta``."""

    def __init__(self, root: Path) -> None:
        self.objects, self.state = (LocalStore(root, name, base=lambda: "http://x") for name in ("object", "state"))
        rules = DownloadRules(part_size=5 * MIB, url_life=timedelta(hours=1))
        self.downloads = Downloads(self.objects, self.state, LAYOUT, rules)

    async def fill(self, *, meta: bool, size: int = len(DATA)) -> None:
        await self.objects.put(LAYOUT.object(OBJECT), DATA[:size])
        if meta:
            parts = [
                Part(part_number=1, part_size=7 * MIB, offset=0, url="http://old", source_md5="1" * 32),
                Part(part_number=2, part_size=4 * MIB, offset=7 * MIB, url="http://old", source_md5="2" * 32),
            ]
            document = Specification(
                object_key=LAYOUT.object(OBJECT), object_id=OBJECT, upload_id="u-1", parts=parts,
                object_size=len(DATA), object_md5=MD5,
            )  # fmt: skip
            await self.state.put(LAYOUT.meta(OBJECT), to_json(document))

    def read(self, part: Part) -> bytes:
        """The bytes that a part's URL gives for its span, the URL being checked as the data plane does."""
        assert part.url is not None
        path, _, query = part.url.partition("?")
        grant = self.objects.check_url("GET", path.partition("/object/")[2], query)
        assert grant.span in (None, part.span)
        return DATA[part.offset : part.offset + part.part_size]


def run(root: Path, test: Test) -> None:
    async def main() -> None:
        shelf = Shelf(root)
        try:
            await test(shelf)
        finally:
            await shelf.objects.close()
            await shelf.state.close()

    asyncio.run(main())


def ask(shelf: Shelf, **what: Any) -> Awaitable[Specification]:
    return shelf.downloads.specification(OBJECT, Request(**what))


def test_the_parts_are_those_of_the_upload_with_fresh_urls(tmp_path: Path) -> None:
    async def test(shelf: Shelf) -> None:
        await shelf.fill(meta=True)
        for whole in (await ask(shelf), await ask(shelf, length=-7)):
            assert (whole.upload_id, whole.object_size, whole.object_md5) == ("u-1", len(DATA), MD5)
            assert [(part.part_size, part.source_md5) for part in whole.parts] == [
                (7 * MIB, "1" * 32), (4 * MIB, "2" * 32),
            ]  # fmt: skip
            assert b"".join(shelf.read(part) for part in whole.parts) == DATA
        bare = await ask(shelf, urls=False)
        assert [part.url for part in bare.parts] == [None, None]
        assert await shelf.downloads.stored(OBJECT) == (len(DATA), MD5)

    run(tmp_path, test)


@pytest.mark.parametrize("meta", [True, False])
def test_ranges_are_cut_from_their_offset(tmp_path: Path, meta: bool) -> None:
    async def test(shelf: Shelf) -> None:
        await shelf.fill(meta=meta)
        to_the_end = await ask(shelf, offset=10, length=-1)
        assert [part.span for part in to_the_end.parts] == [
            Span(10, 5 * MIB), Span(10 + 5 * MIB, 5 * MIB), Span(10 + 10 * MIB, MIB - 10),
        ]  # fmt: skip
        assert (to_the_end.object_size, to_the_end.upload_id) == (len(DATA) - 10, OBJECT)
        assert to_the_end.object_md5 == (MD5 if meta else None)
        everything = await ask(shelf, length=len(DATA))
        assert [part.source_md5 for part in everything.parts] == [None, None, None]
        nothing = await ask(shelf, offset=5, length=0)
        assert (nothing.parts, nothing.object_size) == ([], 0)
        assert (await ask(shelf, offset=len(DATA), length=-1)).parts == []

    run(tmp_path, test)


@settings(max_examples=40, deadline=None)
@given(offset=st.integers(0, len(DATA)), length=st.integers(0, len(DATA)))
def test_every_range_is_covered_once(tmp_path_factory: pytest.TempPathFactory, offset: int, length: int) -> None:
    async def test(shelf: Shelf) -> None:
        await shelf.fill(meta=False)
        length_there = min(length, len(DATA) - offset)
        found = await ask(shelf, offset=offset, length=length_there)
        at = offset
        for number, part in enumerate(found.parts, 1):
            assert (part.part_number, part.offset) == (number, at)
            at += part.part_size
        assert at == offset + length_there == offset + found.object_size

    run(tmp_path_factory.mktemp("range"), test)


def test_external_is_one_url_for_any_range(tmp_path: Path) -> None:
    async def test(shelf: Shelf) -> None:
        await shelf.fill(meta=True)
        for offset, length in ((0, -1), (10, 20)):
            found = await ask(shelf, offset=offset, length=length, external=True)
            (part,) = found.parts
            assert (part.part_number, part.offset, part.part_size, found.object_size) == (1, 0, -1, length)
            assert part.url is not None
            assert "offset" not in part.url
        (part,) = (await ask(shelf, external=True, urls=False)).parts
        assert part.url is None

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ({"offset": -1, "length": 5}, Invalid),
        ({"offset": len(DATA) + 1, "length": -1}, Invalid),
        ({"offset": len(DATA) + 1, "length": -1, "external": True}, Invalid),
        ({"offset": 0, "length": len(DATA) + 1}, Refused),
        ({"offset": 0, "length": len(DATA) + 1, "external": True}, Refused),
        ({"offset": len(DATA), "length": 1}, Refused),
    ],
)
def test_ranges_that_are_refused(tmp_path: Path, what: dict[str, Any], kind: type[ScoreError]) -> None:
    async def test(shelf: Shelf) -> None:
        await shelf.fill(meta=True)
        with pytest.raises(kind, match=r"beyond|negative"):
            await ask(shelf, **what)

    run(tmp_path, test)


@pytest.mark.parametrize("size", [0, 5 * MIB, 5 * MIB + 1])
def test_objects_of_other_tools_have_parts_too(tmp_path: Path, size: int) -> None:
    async def test(shelf: Shelf) -> None:
        await shelf.fill(meta=False, size=size)
        found = await ask(shelf)
        assert sum(part.part_size for part in found.parts) == size
        assert len(found.parts) == (2 if size > 5 * MIB else 1)
        assert (found.upload_id, found.object_md5) == (OBJECT, None)
        assert await shelf.downloads.stored(OBJECT) is None, "it was not uploaded here, so it cannot be published"

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("content_md5", "metadata", "found"),
    [
        (MD5_BASE64, {}, MD5),
        (None, {"md5chksum": MD5_BASE64}, MD5),
        (None, {"md5chksum": MD5.upper()}, MD5),
        (None, {"md5chksum": "nonsense"}, None),
        (None, {"another": MD5_BASE64}, None),
    ],
)
def test_the_md5_that_another_tool_left(
    tmp_path: Path, content_md5: str | None, metadata: dict[str, str], found: str | None
) -> None:
    class Tagged(LocalStore):
        """A store that keeps such things."""

        async def stat(self, key: str) -> ObjectStat | None:
            stat = await super().stat(key)
            return stat and replace(stat, content_md5=content_md5, metadata=metadata)

    async def test(shelf: Shelf) -> None:
        await shelf.fill(meta=False)
        tagged = Tagged(tmp_path, "object", base=lambda: "http://x")
        downloads = Downloads(tagged, shelf.state, LAYOUT, DownloadRules())
        assert (await downloads.specification(OBJECT, Request())).object_md5 == found
        await tagged.close()

    run(tmp_path, test)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    async def test(shelf: Shelf) -> None:
        with pytest.raises(NotFound, match="not in the store"):
            await ask(shelf)
        with pytest.raises(Invalid, match="not an object id"):
            await shelf.downloads.specification("../../etc/passwd", Request())
        await shelf.fill(meta=True)
        await shelf.objects.put(LAYOUT.object(OBJECT), DATA[:-1])
        with pytest.raises(Conflict, match="by its stored state"):
            await ask(shelf)
        await shelf.objects.delete(LAYOUT.object(OBJECT))
        with pytest.raises(NotFound, match="not in the store"):
            await ask(shelf)
        assert await shelf.downloads.stored(OBJECT) is None

    run(tmp_path, test)


def test_a_missing_state_bucket_is_not_taken_for_missing_state(tmp_path: Path) -> None:
    """The object would be served without the checksums of its parts."""

    async def test(shelf: Shelf) -> None:
        await shelf.fill(meta=True)
        shutil.rmtree(tmp_path / "state")
        with pytest.raises(NotFound, match="state"):
            await ask(shelf)

    run(tmp_path, test)


def test_the_listing_has_every_object_and_no_state(tmp_path: Path) -> None:
    async def test(shelf: Shelf) -> None:
        now = 0.0
        listing = Listing(shelf.objects, LAYOUT, clock=lambda: now)
        assert await listing.document() == b"[]"
        await shelf.fill(meta=False)
        for key in (
            LAYOUT.meta(OBJECT),
            LAYOUT.sentinel("heliograph"),
            f"data/deep/{OBJECT[:-1]}2",
            f"other/{OBJECT}",
        ):
            await shelf.objects.put(key, b"x")
        assert await listing.document() == b"[]", "remembered for a while"
        listing.renew()
        found = from_json(list[Listed], await listing.document())
        assert [(one.id, one.size) for one in found] == [(OBJECT, len(DATA)), (f"{OBJECT[:-1]}2", 1)]
        stat = await shelf.objects.stat(LAYOUT.object(OBJECT))
        assert stat is not None
        assert abs(found[0].last_modified - stat.last_modified.timestamp() * 1000) < 1
        await shelf.objects.delete(LAYOUT.object(OBJECT))
        now = 31.0
        assert len(from_json(list[Listed], await listing.document())) == 1

    run(tmp_path, test)


def test_ping_is_a_url_of_the_sentinel(tmp_path: Path) -> None:
    async def test(shelf: Shelf) -> None:
        url = shelf.downloads.ping()
        assert url.startswith("http://x/store/object/data/heliograph?expires=")

    run(tmp_path, test)
