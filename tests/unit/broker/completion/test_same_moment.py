"""Uploads of one object that were started at the same moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from score.errors import AlreadyExists, NotFound
from score.protocol.parts import Span
from score.storage.base import ObjectStat, ObjectStore, Prefix

from ..conftest import LAYOUT
from .conftest import DATA, PART, SIZE, Crash, Dying, Opaque, Run, Site, Upload

OTHER = [DATA[0][::-1], b"another."]


class SameMoment:
    """A bucket of state that answers none of so many starts before all of them have looked for other uploads."""

    def __init__(self, store: ObjectStore, starts: int) -> None:
        self._store = store
        self._all = asyncio.Barrier(starts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def scan(self, prefix: str, *, delimiter: str = "") -> AsyncIterator[ObjectStat | Prefix]:
        found = [entry async for entry in self._store.scan(prefix, delimiter=delimiter)]
        await self._all.wait()
        for entry in found:
            yield entry


class Meanwhile:
    """A bucket of state in which something is done just before a final specification is written, at the first try to
    do so, the second, ..."""

    def __init__(self, store: ObjectStore, *deeds: Callable[[], Awaitable[None]] | None) -> None:
        self._store = store
        self._deeds = list(deeds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, key: str, *given: Any) -> None:
        if key.startswith(LAYOUT.data_prefix) and self._deeds and (deed := self._deeds.pop(0)) is not None:
            await deed()
        await self._store.put(key, *given)


class Forgetful:
    """A bucket of state behind something that changes its ETags, so that the store knows none of them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def stat(self, key: str) -> ObjectStat | None:
        found = await self._store.stat(key)
        return found and replace(found, etag=found.etag + "-gzip")


async def start_two(site: Site, *overwrite: bool, object_id: str = "") -> tuple[Upload, Upload]:
    """Two uploads of one object, started by two servers at the same moment; whether each may replace an object."""
    object_id, state = object_id or await site.register(), SameMoment(site.state, 2)
    starts = [site.server(state=state).start(object_id, SIZE, overwrite=may) for may in overwrite or (False, False)]
    first, second = [json.loads(document) for document in await asyncio.gather(*starts)]
    return site.upload_of(first), site.upload_of(second)


async def finish_two(
    site: Site, *overwrite: bool, other: Sequence[bytes] = DATA, object_id: str = ""
) -> tuple[Upload, Upload]:
    """As ``start_two``, with the parts of both finished: the first one's of DATA, the second one's of ``other``."""
    first, second = await start_two(site, *overwrite, object_id=object_id)
    await first.finish_all(DATA)
    await second.finish_all(other)
    return first, second


def test_of_two_that_were_started_at_the_same_moment_the_later_replaces_nothing(run: Run) -> None:
    async def test(site: Site) -> None:
        first, second = await finish_two(site, other=OTHER)
        await first.complete()
        with pytest.raises(AlreadyExists, match=f"The object {first.object_id} exists"):
            await second.complete()
        await first.check_complete()
        assert await site.objects.read(LAYOUT.object(first.object_id), Span(PART, 8)) == DATA[1]
        await first.complete()
        with pytest.raises(NotFound):
            await second.complete()
        again = site.upload_of(json.loads(await site.server().start(first.object_id, SIZE, overwrite=True)))
        await again.finish_all(OTHER)
        await again.complete()
        await again.check_complete(*OTHER)

    run(test)


def test_of_two_of_the_same_bytes_both_are_completed(run: Run) -> None:
    async def test(site: Site) -> None:
        first, second = await finish_two(site)
        await first.complete()
        if site.etags_are_md5s or isinstance(site.objects, Opaque):
            await second.complete()
            await second.check_complete()
        else:  # nobody can tell that they are the same
            with pytest.raises(AlreadyExists):
                await second.complete()
            await first.check_complete()

    run(test)


def test_of_two_that_may_replace_the_later_does(run: Run) -> None:
    """As the reference's clients always ask for."""

    async def test(site: Site) -> None:
        first, second = await start_two(site, True, True)
        for upload, pieces in ((first, DATA), (second, OTHER)):
            await upload.finish_all(pieces)
            await upload.complete()
        await second.check_complete(*OTHER)

    run(test)


def test_what_is_replaced_as_it_is_completed_is_not_told_of_the_object_that_is_there(run: Run) -> None:
    """Its parts are joined, and then the object is another one, before anybody could know of it."""

    async def test(site: Site) -> None:
        first, second = await finish_two(site, False, True, other=OTHER)
        late = site.server(state=Meanwhile(site.state, second.complete))
        with pytest.raises(AlreadyExists, match=f"The object {first.object_id} exists"):
            await late.complete(first.object_id, first.id)
        await second.check_complete(*OTHER)
        assert await site.objects.read(LAYOUT.object(first.object_id), Span(PART, 8)) == OTHER[1]

    run(test)


def test_the_same_bytes_that_came_at_the_same_moment_are_no_other_object(run: Run) -> None:
    async def test(site: Site) -> None:
        first, second = await finish_two(site, False, True)
        late = site.server(state=Meanwhile(site.state, second.complete)).complete(first.object_id, first.id)
        if site.etags_are_md5s or isinstance(site.objects, Opaque):
            await late
            await first.check_complete()
            await first.complete()
        else:  # nobody can tell that they are the same
            with pytest.raises(AlreadyExists):
                await late
            await second.check_complete()

    run(test)


@pytest.mark.parametrize("there", [False, True])
def test_of_two_that_may_replace_and_end_at_the_same_moment_one_does(run: Run, there: bool) -> None:
    """The parts of the first are joined; then the second is completed, just before the first one's ``.meta`` is
    written, where there is none, or one of an older object."""

    async def test(site: Site) -> None:
        object_id = await site.register()
        if there:
            older = site.upload_of(json.loads(await site.server().start(object_id, 3)))
            await older.finish(1, b"old")
            await older.complete()
        first, second = await finish_two(site, True, True, other=OTHER, object_id=object_id)
        late = site.server(state=Meanwhile(site.state, *([None] if there else []), second.complete))
        with pytest.raises(AlreadyExists, match=f"The object {first.object_id} exists"):
            await late.complete(first.object_id, first.id)
        await second.check_complete(*OTHER)
        assert await site.objects.read(LAYOUT.object(first.object_id), Span(PART, 8)) == OTHER[1]

    run(test)


def test_what_comes_between_two_uploads_is_no_reason_to_refuse_the_later(run: Run) -> None:
    """A ``.meta`` that is late itself, of an object that is gone again by then."""

    async def test(site: Site) -> None:
        first, second = await finish_two(site, True, True, other=OTHER)
        await first.complete()
        older = await site.state.get(LAYOUT.meta(first.object_id))

        async def come_late() -> None:
            await site.state.put(LAYOUT.meta(first.object_id), older + b" ")

        late = site.server(state=Meanwhile(site.state, come_late, come_late, come_late))
        await late.complete(second.object_id, second.id)
        await second.check_complete(*OTHER)

    run(test)


def test_a_store_that_knows_none_of_its_etags_is_written_to_all_the_same(run: Run) -> None:
    async def test(site: Site) -> None:
        first, second = await finish_two(site, True, True)
        await first.complete()
        await site.server(state=Forgetful(site.state)).complete(second.object_id, second.id)
        await second.check_complete()

    run(test)


def test_an_object_that_is_removed_as_its_upload_ends_is_not_told_of(run: Run) -> None:
    """Where there is a ``.meta``, of an object before it."""

    async def test(site: Site) -> None:
        first, second = await finish_two(site, True, True)
        await first.complete()

        async def remove() -> None:
            await site.objects.delete(LAYOUT.object(first.object_id))

        with pytest.raises(NotFound):
            await site.server(state=Meanwhile(site.state, remove)).complete(second.object_id, second.id)

    run(test)


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_the_completion_of_what_replaces_nothing(run: Run, after: bool) -> None:
    """The object that is there then is its own."""

    async def test(site: Site) -> None:
        document = await site.server().start(await site.register(), SIZE)
        upload = site.upload_of(json.loads(document))
        await upload.finish_all(DATA)
        with pytest.raises(Crash):
            await site.server(objects=Dying(site.objects, "complete", after=after)).complete(
                upload.object_id, upload.id
            )
        await upload.complete()
        await upload.check_complete()
        await upload.complete()

    run(test)
