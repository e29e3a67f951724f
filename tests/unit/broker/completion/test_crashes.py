"""Crashes between the joining of the parts and the final ``.meta``, and uploads that are dropped."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from score.broker.cleanup import Cleanup, Swept
from score.errors import Conflict, NotFound
from score.metadata.base import AnalysisState

from ..conftest import LAYOUT, STUDY
from .conftest import PART, SIZE, Crash, Dying, Run, Site, crashed


@pytest.mark.parametrize("older", [False, True], ids=["first", "overwrites"])
@pytest.mark.parametrize("then", ["repeated", "cleaned up", "cancelled", "replaced"])
def test_a_crash_before_the_final_meta_loses_nothing(
    run: Run, then: str, older: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where nobody repeats the completion: whatever removes the state writes ``.meta`` first."""

    async def test(site: Site) -> None:
        object_id = await site.register(SIZE)
        if older:
            first = await site.start(object_id)
            for number, piece in enumerate([b"z" * PART, b"an older"], 1):
                await first.finish(number, piece)
            await first.complete()
        upload = await crashed(site, object_id)
        final = await upload.final()
        assert (final is not None and final["uploadId"]) == (older and first.id)
        server = site.server()
        if then == "repeated":
            await upload.complete()
        elif then == "cleaned up":
            week = datetime.now(UTC) + timedelta(days=7)
            cleanup = Cleanup(site.objects, site.state, LAYOUT, server, timedelta(days=6), lambda: week)
            assert await cleanup.run() == Swept(1, 0)
        elif then == "cancelled":
            await server.cancel(object_id)
        else:
            again = await site.start(object_id)
            await site.server().cancel(object_id)
            with pytest.raises(NotFound):
                await site.server().complete(object_id, again.id)
        await upload.check_complete()
        await upload.complete()

    caplog.set_level(logging.WARNING)
    run(test)
    assert ("without its .meta" in caplog.text) == (then != "repeated")


def test_a_lost_answer_is_asked_for_again_when_the_analysis_is_published(run: Run) -> None:
    """The final ``.meta`` is there, so it can be; what was left of the state must not stand in the way."""

    async def test(site: Site) -> None:
        upload = await site.upload()
        with pytest.raises(Crash):
            await site.server(state=Dying(site.state, "delete")).complete(upload.object_id, upload.id)
        entity = await site.registry.entity(upload.object_id)
        await site.registry.change_state(STUDY, entity.gnos_id, AnalysisState.PUBLISHED)
        await upload.complete()
        await upload.check_complete()

    run(test)


@pytest.mark.parametrize("finished", [False, True], ids=["part of it sent", "all of it sent"])
def test_an_upload_that_is_dropped_leaves_the_older_object_as_it_was(run: Run, finished: bool) -> None:
    async def test(site: Site) -> None:
        older = await site.upload()
        await older.complete()
        upload = await site.start(older.object_id)
        await upload.finish(1, b"y" * PART)
        if finished:
            await upload.finish(2, b"the new.")
        await site.server().cancel(older.object_id)
        await older.check_complete()
        with pytest.raises(NotFound):
            await upload.complete()
        await older.complete()

    run(test)


def test_a_drop_that_dies_half_way_is_repeated(run: Run) -> None:
    """The upload is gone then, all parts are recorded, and the object is of none of them."""

    async def test(site: Site) -> None:
        if not site.etags_are_md5s:
            return
        older = await site.upload()
        await older.complete()
        upload = await site.start(older.object_id)
        for number, piece in enumerate([b"y" * PART, b"the new."], 1):
            await upload.finish(number, piece)
        with pytest.raises(Crash):
            await site.server(objects=Dying(site.objects, "abort", after=True)).cancel(older.object_id)
        with pytest.raises((NotFound, Conflict)):  # its parts are gone, and perhaps their records
            await upload.complete()
        await site.server().cancel(older.object_id)
        await older.check_complete()

    run(test)
