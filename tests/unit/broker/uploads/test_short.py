"""Short uploads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from score.broker.uploads import Uploads
from score.errors import AlreadyExists, Conflict, Integrity, NotFound, NotReady

from ..conftest import LAYOUT
from .conftest import MIB, Crash, Site, Test, md5, refused, start


class TestShort:
    """The last part completes the upload, and a start that replaces nothing."""

    def test_the_last_part_completes(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 5 * MIB + 1)
            for number, data, completed in ((2, b"z", False), (1, bytes(5 * MIB), True), (1, bytes(5 * MIB), True)):
                if not await uploads.exists(object_id):
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
            assert not await uploads.exists(object_id)
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
            assert not await uploads.exists(object_id)

        run(test)

    def test_a_start_afresh_replaces_nothing(self, run: Callable[[Test], None]) -> None:
        async def test(site: Site) -> None:
            object_id = await site.register()
            uploads = site.server()
            spec = await start(uploads, object_id, 3, afresh=True)
            with refused(AlreadyExists, "in progress"):
                await start(uploads, object_id, 3, afresh=True)
            assert (await uploads.status(object_id, 3)).upload_id == spec["uploadId"]
            await site.put_part(uploads, spec, 1, b"abc")
            await uploads.complete(object_id, spec["uploadId"])
            with refused(AlreadyExists, "exists"):
                await start(uploads, object_id, 3, afresh=True)

        run(test)

    @staticmethod
    async def _sent(site: Site, uploads: Uploads, object_id: str, data: bytes) -> dict[str, Any]:
        spec = await start(uploads, object_id, len(data))
        await site.put_part(uploads, spec, 1, data)
        return spec
