"""A crash between any two steps is recovered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from score.errors import NotFound
from score.storage.local import LocalStore

from ..conftest import LAYOUT
from .conftest import MIB, Crash, Site, Test, start


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("die_at", range(1, 4))
def test_a_crash_during_completion_is_recovered(run: Callable[[Test], None], die_at: int, after: bool) -> None:
    async def test(site: Site) -> None:
        object_id = await site.register()
        first = site.server()
        spec = await start(first, object_id, 5 * MIB + 1)
        await site.put_part(first, spec, 2, b"z")
        await site.put_part(first, spec, 1, bytes(5 * MIB))
        # one bucket for both, so that every change of either counts
        one = Site(site.objects, site.objects, site.registry)
        for key in await site.keys():
            await site.objects.put(key, await site.state.get(key))
        crashing = one.server(die_at=die_at, after=after)
        with pytest.raises(Crash):
            await crashing.complete(object_id, spec["uploadId"])
        await one.server().complete(object_id, spec["uploadId"])
        assert await one.keys() == []
        assert (await one.final(object_id))["uploadId"] == spec["uploadId"]
        stat = await site.objects.stat(LAYOUT.object(object_id))
        assert stat is not None
        assert stat.size == 5 * MIB + 1

    run(test)


def test_the_number_of_crash_points_is_the_number_of_changes(run: Callable[[Test], None]) -> None:
    """The tests here die at every change. Of a completion: complete, put, and the deletion. Of a cancellation: abort,
    and what the store takes to clear the state. Of a start that replaces an upload: these, begin and put."""

    async def test(site: Site) -> None:
        object_id = await site.register()
        one = Site(site.objects, site.objects, site.registry)
        clearing = 3 if isinstance(site.objects, LocalStore) else 1
        await one.put_part(one.server(), await start(one.server(), object_id, 3), 1, b"abc")
        spec = await start(one.server(), object_id, 4)
        assert one.watched.changes == 1 + clearing + 2
        await one.put_part(one.server(), spec, 1, b"abcd")
        await one.server().cancel(object_id)
        assert one.watched.changes == 1 + clearing
        spec = await start(one.server(), object_id, 3)
        await one.put_part(one.server(), spec, 1, b"abc")
        await one.server().complete(object_id, spec["uploadId"])
        assert one.watched.changes == 3

    run(test)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("die_at", range(1, 7))
def test_a_crash_during_a_start_is_recovered(run: Callable[[Test], None], die_at: int, after: bool) -> None:
    async def test(site: Site) -> None:
        object_id = await site.register()
        one = Site(site.objects, site.objects, site.registry)
        uploads = one.server()
        old = await start(uploads, object_id, 3)
        await one.put_part(uploads, old, 1, b"abc")
        with one.dying(die_at, after=after) as dying:
            await dying.start(object_id, 4)
        fresh = one.server()
        spec = await start(fresh, object_id, 4)
        assert (await fresh.status(object_id, 4)).upload_id == spec["uploadId"]
        await one.put_part(fresh, spec, 1, b"defg")
        await fresh.complete(object_id, spec["uploadId"])
        assert await one.keys() == []

    run(test)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("die_at", range(1, 5))
def test_a_crash_during_a_cancellation_is_recovered(run: Callable[[Test], None], die_at: int, after: bool) -> None:
    async def test(site: Site) -> None:
        object_id = await site.register()
        one = Site(site.objects, site.objects, site.registry)
        uploads = one.server()
        spec = await start(uploads, object_id, 3)
        await one.put_part(uploads, spec, 1, b"abc")
        with one.dying(die_at, after=after) as dying:
            await dying.cancel(object_id)
        fresh = one.server()
        try:
            await fresh.cancel(object_id)
        except NotFound:
            assert await one.keys() == [], "the upload is gone as soon as its .meta is, and that goes last"
        await start(fresh, object_id, 3)
        assert len(await one.keys()) == 1

    run(test)
