"""Short uploads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from score.broker.uploads import Uploads
from score.errors import AlreadyExists, Conflict, Integrity, Invalid, NotFound, NotReady
from score.metadata.base import AnalysisState

from ..conftest import LAYOUT, STUDY
from .conftest import MIB, Crash, Site, Test, md5, refused, start


class TestShort:
    """The last part completes the upload, and a start that replaces nothing."""

    def test_the_last_part_completes(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 5 * MIB + 1)
            for number, data, completed in ((2, b"z", False), (1, bytes(5 * MIB), True), (1, bytes(5 * MIB), True)):
                if not await uploads.completed(object_id):
                    await site.send(spec["parts"][number - 1], data)
                told = md5(data), md5(data)
                assert (
                    await uploads.finish_part(object_id, spec["uploadId"], number, *told, complete=True) is completed
                )
            assert await site.keys() == []
            assert (await site.final(object_id))["uploadId"] == spec["uploadId"]

        run(test)

    def test_another_server_leaves_it_to_the_completion(self, run: Callable[[Test], None]) -> None:
        """It did not see the other part, and believes no record."""

        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 5 * MIB + 1)
            await site.put_part(uploads, spec, 1, bytes(5 * MIB))
            await site.send(spec["parts"][1], b"z")
            other = site.server()
            assert not await other.finish_part(object_id, spec["uploadId"], 2, md5(b"z"), md5(b"z"), complete=True)
            await other.complete(object_id, spec["uploadId"])

        run(test)

    def test_what_is_not_there_completes_nothing(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 3)
            with refused(Conflict, "not in the store"):
                await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc"), complete=True)
            await site.send(spec["parts"][0], b"abc")
            with refused(Conflict, "another ETag"):
                await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abd"), md5(b"abd"), complete=True)
            with refused(NotFound):
                await uploads.finish_part(object_id, "bm90aGVyZQ", 1, md5(b"abc"), md5(b"abc"), complete=True)
            assert await site.objects.stat(LAYOUT.object(object_id)) is None

        run(test)

    def test_once_it_is_published_the_part_is_recorded_only(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            await uploads.complete(object_id, (await self._sent(site, uploads, object_id, b"old"))["uploadId"])
            spec = await start(uploads, object_id, 3, overwrite=True)
            await site.send(spec["parts"][0], b"new")
            await site.publish()
            told = md5(b"new"), md5(b"new")
            assert not await uploads.finish_part(object_id, spec["uploadId"], 1, *told, complete=True)
            with refused(NotReady):
                await uploads.complete(object_id, spec["uploadId"])
            assert (await site.final(object_id))["uploadId"] != spec["uploadId"]

        run(test)

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("die_at", range(1, 4))
    def test_after_a_crash_it_is_asked_for_again(self, run: Callable[[Test], None], die_at: int, after: bool) -> None:
        """At each change: the object, the final specification, the deletion of the state."""

        async def test(site: Site) -> None:
            object_id = await site.register()
            one = Site(site.objects, site.objects, site.registry)
            spec = await start(one.server(), object_id, 3)
            await site.send(spec["parts"][0], b"abc")
            told = object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc")
            with pytest.raises(Crash):
                await one.server(die_at=die_at, after=after).finish_part(*told, complete=True)
            fresh = one.server()
            assert await fresh.finish_part(*told, complete=True)
            assert await one.keys() == []
            assert (await one.final(object_id))["uploadId"] == spec["uploadId"]

        run(test)

    @pytest.mark.parametrize("then", ["asked for", "replaced"])
    def test_after_a_crash_nobody_needs_to_know_of_the_part(self, run: Callable[[Test], None], then: str) -> None:
        """Which has no record, and whose client is gone as well: the object tells by its ETag."""

        async def test(site: Site) -> None:
            object_id = await site.register()
            one = Site(site.objects, site.objects, site.registry)
            spec = await start(one.server(), object_id, 3, md5=md5(b"abc"))
            await site.send(spec["parts"][0], b"abc")
            told = object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc")
            with pytest.raises(Crash):
                await one.server(die_at=1, after=True).finish_part(*told, complete=True)
            if then == "asked for":
                (part,) = (await one.server().status(object_id, 3)).parts
                assert part.source_md5 == md5(b"abc")
                await one.server().complete(object_id, spec["uploadId"])
                assert await one.keys() == []
            else:
                await one.server().start(object_id, 3, md5(b"xyz"), overwrite=True)
            final = await one.final(object_id)
            assert final["uploadId"] == spec["uploadId"]
            assert [part["sourceMd5"] for part in final["parts"]] == [md5(b"abc")]

        run(test)

    def test_an_object_of_other_bytes_is_not_taken_for_the_only_part(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            older = await start(uploads, object_id, 3, md5=md5(b"old"))
            await site.send(older["parts"][0], b"old")
            assert await uploads.finish_part(object_id, older["uploadId"], 1, md5(b"old"), md5(b"old"), complete=True)
            spec = await start(uploads, object_id, 3, md5=md5(b"abc"), overwrite=True)
            await site.objects.abort(LAYOUT.object(object_id), spec["uploadId"])
            with pytest.raises(NotFound):
                await uploads.status(object_id, 3)
            assert (await site.final(object_id))["uploadId"] == older["uploadId"]

        run(test)

    def test_the_only_part_is_neither_looked_for_nor_recorded(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 3)
            await site.send(spec["parts"][0], b"abc")
            site.watched_objects.calls.clear()
            assert await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abc"), md5(b"abc"), complete=True)
            assert [name for name in site.watched_objects.calls if name != "limits"] == ["complete"]
            assert (await site.final(object_id))["parts"][0]["sourceMd5"] == md5(b"abc")

        run(test)

    def test_a_part_of_another_size_is_no_success(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 3)
            with suppress(Integrity):  # the local store takes no such part
                await site.send(spec["parts"][0], b"abcd")
            with pytest.raises((Integrity, Conflict)):
                await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"abcd"), md5(b"abcd"), complete=True)
            assert not await uploads.completed(object_id)
            again = await start(uploads, object_id, 3, overwrite=True)
            await site.put_part(uploads, again, 1, b"abc")
            await uploads.complete(object_id, again["uploadId"])
            assert (await site.final(object_id))["uploadId"] == again["uploadId"]

        run(test)

    def test_an_md5_that_the_stores_etag_contradicts_completes_nothing(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 3)
            await site.send(spec["parts"][0], b"abc")
            with pytest.raises(Conflict, match="another MD5"):
                await uploads.finish_part(object_id, spec["uploadId"], 1, md5(b"xyz"), md5(b"abc"), complete=True)
            assert not await uploads.completed(object_id)

        run(test)

    @pytest.mark.parametrize("size", [3, 5 * MIB + 1])
    def test_a_start_afresh_replaces_nothing(self, run: Callable[[Test], None], size: int) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server(part_size=6 * MIB)
            spec = await start(uploads, object_id, size, afresh=size > 3)
            with refused(AlreadyExists, "in progress"):
                await start(uploads, object_id, size, afresh=True)
            assert (await uploads.status(object_id, size)).upload_id == spec["uploadId"]
            await site.put_part(uploads, spec, 1, bytes(size))
            await uploads.complete(object_id, spec["uploadId"])
            with refused(AlreadyExists, "exists"):
                await start(uploads, object_id, size, afresh=True)

        run(test)

    @staticmethod
    async def _sent(site: Site, uploads: Uploads, object_id: str, data: bytes) -> dict[str, Any]:
        spec = await start(uploads, object_id, len(data))
        await site.put_part(uploads, spec, 1, data)
        return spec


class TestSmall:
    """A small file that was begun afresh has no state: its end tells all."""

    ABC = md5(b"abc")

    async def begun(self, site: Site, uploads: Uploads) -> tuple[str, str, int, str, str]:
        """The upload of three bytes that are in the store: what to report of its part."""
        object_id = await site.register()
        spec = await start(uploads, object_id, 3, md5=self.ABC, afresh=True)
        await site.send(spec["parts"][0], b"abc")
        return object_id, spec["uploadId"], 1, self.ABC, self.ABC

    async def left_by_a_crash(self, site: Site) -> tuple[Site, tuple[str, str, int, str, str]]:
        """The object of an upload without its final specification, in one bucket."""
        one = Site(site.objects, site.objects, site.registry)
        told = await self.begun(one, one.server())
        with pytest.raises(Crash):
            await one.server(die_at=1, after=True).finish_part(*told, size=3, complete=True)
        return one, told

    def test_nothing_is_kept_and_nothing_asked_again(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            uploads = site.server()
            told = await self.begun(site, uploads)
            assert await site.keys() == []
            site.watched.calls.clear()
            site.watched_objects.calls.clear()
            assert await uploads.finish_part(*told, size=3, complete=True)
            assert [name for name in site.watched_objects.calls if name != "limits"] == ["complete"]
            if site.watched_objects is not site.watched:
                assert site.watched.calls == ["put"]
            final = await site.final(told[0])
            assert (final["uploadId"], final["objectSize"], final["objectMd5"]) == (told[1], 3, self.ABC)
            assert [(part["partSize"], part["sourceMd5"]) for part in final["parts"]] == [(3, self.ABC)]

        run(test)

    def test_any_server_ends_it_that_is_told_the_size(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            told = await self.begun(site, site.server())
            for size in (None, -1, 5 * MIB + 1):
                with refused(NotFound, "No such upload"):
                    await site.server().finish_part(*told, size=size, complete=True)
            with refused(Invalid, "parts 1 to 1"):
                await site.server().finish_part(*told[:2], 2, *told[3:], size=3, complete=True)
            assert await site.server().finish_part(*told, size=3, complete=True)
            assert (await site.final(told[0]))["objectMd5"] == self.ABC
            assert await site.keys() == []

        run(test)

    def test_a_size_that_is_not_its_own_completes_nothing(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            told = await self.begun(site, site.server())
            with pytest.raises((Integrity, Conflict, NotFound)):
                await site.server().finish_part(*told, size=4, complete=True)
            assert not await site.server().completed(told[0])
            with suppress(AlreadyExists):  # S3 has joined the part, and this finishes it
                again = await start(site.server(), told[0], 3, md5=self.ABC)
                await site.send(again["parts"][0], b"abc")
                await site.server().finish_part(told[0], again["uploadId"], *told[2:], size=3, complete=True)
            assert (await site.final(told[0]))["objectSize"] == 3

        run(test)

    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("die_at", [1, 2])
    def test_after_a_crash_it_is_told_again(
        self, run: Callable[[Test], None], die_at: int, after: bool, known: bool
    ) -> None:
        """At each change: the object, the final specification."""

        async def test(site: Site) -> None:
            one = Site(site.objects, site.objects, site.registry)
            uploads = one.server()
            told = await self.begun(one, uploads)
            with pytest.raises(Crash):
                await one.server(die_at=die_at, after=after).finish_part(*told, size=3, complete=True)
            server = uploads if known else one.server()
            for _ in range(2):
                assert await server.finish_part(*told, size=3, complete=True)
            assert await one.keys() == []
            assert (await one.final(told[0]))["uploadId"] == told[1]

        run(test)

    @pytest.mark.parametrize("afresh", [True, False])
    def test_what_a_crash_left_is_finished_by_the_next_start(self, run: Callable[[Test], None], afresh: bool) -> None:
        """Of this very file, and of no other. Nobody knows of the first upload any more."""

        async def test(site: Site) -> None:
            one, told = await self.left_by_a_crash(site)
            uploads = one.server()
            assert not await uploads.completed(told[0])
            for size, other in ((3, md5(b"xyz")), (4, self.ABC), (3, None)):
                with refused(AlreadyExists):
                    await start(uploads, told[0], size, md5=other, afresh=afresh)
                assert not await uploads.completed(told[0])
            with refused(AlreadyExists):
                await start(uploads, told[0], 3, md5=self.ABC, afresh=afresh)
            final = await one.final(told[0])
            assert (final["objectSize"], final["objectMd5"]) == (3, self.ABC)
            assert [(part["partSize"], part["sourceMd5"]) for part in final["parts"]] == [(3, self.ABC)]
            assert await one.keys() == []
            assert [upload async for upload in one.objects.open_uploads()] == []

        run(test)

    def test_what_a_crash_left_and_another_replaces_is_not_finished(self, run: Callable[[Test], None]) -> None:
        """Though it was there when the start looked."""

        async def test(site: Site) -> None:
            one, told = await self.left_by_a_crash(site)
            uploads = one.server()

            async def replace() -> None:
                spec = await start(one.server(), told[0], 3, overwrite=True)
                await site.send(spec["parts"][0], b"xyz")
                last = told[0], spec["uploadId"], 1, md5(b"xyz"), md5(b"xyz")
                assert await one.server().finish_part(*last, complete=True)

            one.watched.before_change = replace
            with refused(AlreadyExists, f"The object {told[0]} exists"):
                await start(uploads, told[0], 3, md5=self.ABC)
            assert (await one.final(told[0]))["parts"][0]["sourceMd5"] == md5(b"xyz")

        run(test)

    def test_what_a_crash_left_of_a_published_object_stays_as_it_is(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            one, told = await self.left_by_a_crash(site)
            await one.publish()
            with refused(NotReady):
                await start(one.server(), told[0], 3, md5=self.ABC)
            assert not await one.server().completed(told[0])

        run(test)

    def test_an_object_that_came_meanwhile_stays(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            uploads = site.server()
            told = await self.begun(site, uploads)
            other = await start(site.server(), told[0], 3, md5=md5(b"xyz"), afresh=True)
            await site.send(other["parts"][0], b"xyz")
            last = told[0], other["uploadId"], 1, md5(b"xyz"), md5(b"xyz")
            assert await site.server().finish_part(*last, size=3, complete=True)
            for server in (uploads, site.server()):
                with refused(AlreadyExists, "exists"):
                    await server.finish_part(*told, size=3, complete=True)
            assert (await site.final(told[0]))["uploadId"] == other["uploadId"]
            assert await site.objects.get(LAYOUT.object(told[0])) == b"xyz"

        run(test)

    @pytest.mark.parametrize("known", [True, False])
    def test_what_cannot_be_completed_becomes_an_upload_like_others(
        self, run: Callable[[Test], None], known: bool
    ) -> None:
        """Whose completion says why, and which any server can go on with."""

        async def test(site: Site) -> None:
            uploads = site.server()
            told = await self.begun(site, uploads)
            await site.publish()
            assert not await (uploads if known else site.server()).finish_part(*told, size=3, complete=True)
            with refused(NotReady):
                await uploads.complete(*told[:2])
            await site.registry.change_state(STUDY, site.analysis, AnalysisState.UNPUBLISHED)
            (part,) = (await site.server().status(told[0], 3)).parts
            assert part.source_md5 == self.ABC
            assert b'"overwrite":false' in await site.state.get(LAYOUT.upload_meta(*told[:2]))
            await site.server().complete(*told[:2])
            assert (await site.final(told[0]))["uploadId"] == told[1]
            assert await site.keys() == []

        run(test)

    def test_a_part_that_is_only_reported_is_recorded(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            uploads = site.server()
            told = await self.begun(site, uploads)
            assert not await uploads.finish_part(*told)
            await site.server().complete(*told[:2])
            assert (await site.final(told[0]))["uploadId"] == told[1]

        run(test)

    def test_nothing_is_kept_of_what_is_not_there(self, run: Callable[[Test], None]) -> None:
        """Or anybody could fill the bucket of state."""

        async def test(site: Site) -> None:
            object_id = await site.register()
            spec = await start(site.server(), object_id, 3, md5=self.ABC, afresh=True)
            with refused(Conflict, "not in the store"):
                await site.server().finish_part(object_id, spec["uploadId"], 1, self.ABC, self.ABC, size=3)
            with refused(NotFound):
                await site.server().finish_part(object_id, "bm90aGVyZQ", 1, self.ABC, self.ABC, size=3, complete=True)
            assert await site.keys() == []

        run(test)

    def test_it_is_dropped_by_the_server_that_began_it(self, run: Callable[[Test], None]) -> None:
        """Others leave its part to the cleanup."""

        async def test(site: Site) -> None:
            uploads = site.server()
            told = await self.begun(site, uploads)
            with refused(NotFound):
                await site.server().cancel(*told[:2])
            await uploads.cancel(*told[:2])
            assert [upload async for upload in site.objects.open_uploads()] == []
            with refused(NotFound):
                await uploads.finish_part(*told, size=3, complete=True)
            with refused(NotFound):
                await uploads.cancel(*told[:2])

        run(test)
