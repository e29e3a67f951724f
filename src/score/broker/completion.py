"""Completion of uploads: the object out of its parts, then its final ``.meta``. Protocol, section 4.

After a crash at any moment any server can do each step again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from score.broker.access import Access
from score.broker.begun import Begun, already_there, no_upload
from score.broker.documents import fetch
from score.broker.finished import FinishedParts, refuse
from score.broker.plans import Known
from score.broker.state import Layout, Plan, read_specification, without_urls
from score.broker.sweep import sweep
from score.broker.together import in_order
from score.broker.work import Work
from score.errors import AlreadyExists, Conflict, Integrity, NotFound, NotReady, Unavailable
from score.protocol.digests import combined_etag, to_hex
from score.protocol.wire import FinishedPart, Part, Specification, to_json
from score.storage.base import NOTHING, ObjectStat, ObjectStore, StoredPart, UploadId

log = logging.getLogger(__name__)

_BEGINNING = timedelta(seconds=10)
"""Within which the state of an upload is written, once the store began it."""
_FEW = 10
"""Records of parts that are deleted by their keys where those are known: to clear a folder takes two calls."""
_MOST_AT_ONCE = 100
"""Uploads of one object that may come between another one's look at its ``.meta`` and the writing of that."""


class Completion:
    """Completes the uploads of one pair of buckets."""

    def __init__(
        self,
        objects: ObjectStore,
        state: ObjectStore,
        access: Access,
        layout: Layout,
        begun: Begun,
        finished: FinishedParts,
        work: Work,
    ) -> None:
        self._objects = objects
        self._state = state
        self._access = access
        self._layout = layout
        self._begun = begun
        self._finished = finished
        self._work = work

    async def complete(self, object_id: str, upload: UploadId, known: Known | None = None) -> Specification:
        """Make the object of its finished parts; gives what it is. See :meth:`.Uploads.complete`.

        ``known``: the upload with all its parts, where they need not be looked for.
        """
        what = f"The completion of {object_id}"
        return await self._work.do((object_id, upload), what, lambda: self._complete(object_id, upload, known))

    async def _complete(self, object_id: str, upload: UploadId, known: Known | None) -> Specification:
        try:
            known = known or self._begun.plans.get(object_id, upload)
            if known is not None and known.whole and (final := await self._from_memory(object_id, upload, known)):
                return final
            specification = await self._begun.specification(object_id, upload)
            (parts, md5s, keys), _ = await in_order(
                self._assemble(object_id, upload, Plan.of(specification)), self._access.check_unpublished(object_id)
            )
            final = without_urls(specification, md5s)
            await self._join(object_id, final, parts, overwrite=specification.overwrite)
        except AlreadyExists:
            # Nobody completes it any more. Its parts are left to the cleanup: to drop them while another server is
            # about to complete them costs some stores the object.
            await self.forget(object_id, upload)
            raise already_there(object_id) from None
        except (Conflict, NotFound, NotReady):
            made = await self._made(object_id, upload)
            if made is None:
                raise
            await self.forget(object_id, upload)  # done by another server, or before its answer was lost
            return made
        await self.forget(object_id, upload, keys)
        return final

    async def _from_memory(self, object_id: str, upload: UploadId, known: Known) -> Specification | None:
        """Complete an upload of which every part is known, without listing them again: the store takes only parts
        with the ETags that are named. None where it does not, or the state is gone: then others had a hand in it, and
        the store's own lists decide."""
        began: datetime | None = None
        if known.kept:
            look = self._state.stat(self._layout.upload_meta(object_id, upload))
            meta, _ = await in_order(look, self._access.check_unpublished(object_id))
            if meta is None:
                return None
            began = meta.last_modified
        else:
            await self._access.check_unpublished(object_id)
        final = known.final(self._layout.object(object_id), object_id, upload)
        try:
            await self._join(object_id, final, known.stored(), began, overwrite=known.overwrite)
        except (Conflict, NotFound):
            return None
        if known.kept:
            await self.forget(object_id, upload, known.keys)
        else:
            self._begun.plans.forget(object_id, upload)
        return final

    async def _join(
        self,
        object_id: str,
        final: Specification,
        parts: list[StoredPart],
        begun: datetime | None = None,
        *,
        overwrite: bool = True,
    ) -> None:
        """The object out of these parts, then its final ``.meta``; where a crash came between the two, the latter.
        ``begun``: when the upload began, where that is known. AlreadyExists where it is of another upload: one that
        came before, without ``overwrite``, or has replaced it since."""
        key = self._layout.object(object_id)
        made = await self._objects.complete(key, UploadId(final.upload_id), parts, overwrite)
        if made.size != final.object_size:
            raise Integrity(
                f"The store made {made.size} bytes of the parts of {object_id}, not {final.object_size}.",
                hint="Upload it again with overwrite.",
            )
        # Not every store proves by an ETag what an object was made of, where ETags are no MD5s.
        md5s = [(part.source_md5 or "").lower() for part in final.parts]
        if [part.etag.lower() for part in parts] != md5s or (made.opaque and made.etag != combined_etag(md5s)):
            begun = begun or await self._beginning(object_id, UploadId(final.upload_id))
            if made.last_modified < begun - _BEGINNING:
                raise no_upload(object_id)  # an older object
        await self._conclude(object_id, final, made)

    async def _conclude(self, object_id: str, final: Specification, made: ObjectStat) -> None:
        """Write the final ``.meta`` of the object that was ``made``. AlreadyExists where another upload has replaced
        that since.

        Who looks at the ``.meta`` first, then at the object, and writes over no ``.meta`` but that one, writes none
        over that of a later object: its upload would have changed it.
        """
        key, document = self._layout.meta(object_id), to_json(final)
        over: str | None = NOTHING
        for _ in range(_MOST_AT_ONCE):
            try:
                await self._state.put(key, document, over)
                return
            except AlreadyExists:
                meta = await self._state.stat(key)
                there = await self._objects.stat(self._layout.object(object_id))
                if there is None:
                    raise no_upload(object_id) from None  # removed since
                if there.etag != made.etag:
                    raise already_there(object_id) from None
                found = meta.etag if meta else NOTHING
                # A store that does not know an ETag that it gave can be told no condition.
                over = None if found and found == over else found
        raise Unavailable(f"Many uploads of {object_id} end at the same moment.", hint="Try again.", retry_after=1)

    async def _final(self, object_id: str) -> Specification | None:
        """The final ``.meta`` that is there; None where none is, or a broken one, which is written anew."""
        key = self._layout.meta(object_id)
        document = await fetch(self._state, key)
        try:
            return None if document is None else read_specification(document, key)
        except Conflict:
            return None

    async def _beginning(self, object_id: str, upload: UploadId) -> datetime:
        """When the upload began. NotFound: it is gone."""
        meta = await self._state.stat(self._layout.upload_meta(object_id, upload))
        if meta is None:
            raise no_upload(object_id)
        return meta.last_modified

    async def finish_joined(self, object_id: str, upload: UploadId) -> Specification | None:
        """Write the final ``.meta`` where the object is made of the parts of this upload, which is gone; gives it,
        None where the object is another one, or none is there.

        Without it nobody would know the parts and their MD5s; with that of an older object in its place every
        download would fail.
        """
        made = await self._objects.stat(self._layout.object(object_id))
        if made is None:
            return None
        try:
            if final := await self._made(object_id, upload):
                return final
            specification = await self._begun.specification(object_id, upload)
            if specification.object_size != made.size:
                return None
            unrecorded = self._only_part(specification, made)
            parts, md5s, _ = await self._assemble(object_id, upload, Plan.of(specification), unrecorded)
            final = without_urls(specification, md5s)
            await self._join(object_id, final, parts)
        except (NotFound, Conflict):
            return None  # no state to go by, parts that were never finished, or an object of other parts
        log.warning("Finished the upload %s of %s, which a crash left without its .meta.", upload, object_id)
        return final

    async def finish_small(self, object_id: str, made: ObjectStat, md5: str) -> None:
        """Write the final ``.meta`` of an object that is there without one, where it is made of one part of this MD5
        (hex)."""
        if made.etag != combined_etag([md5]):
            return
        await self._access.check_unpublished(object_id)
        part = Part(part_number=1, part_size=made.size, offset=0, source_md5=md5)
        # The id of its upload nobody knows.
        final = Specification(made.key, object_id, made.etag, [part], made.size, md5)
        await self._conclude(object_id, final, made)
        log.warning("Finished the upload of %s, which a crash left without its .meta.", object_id)

    def _only_part(self, begun: Specification, made: ObjectStat) -> FinishedPart | None:
        """The only part of an upload, as its start tells of it: it may have been joined without a record. None where
        the ETag of the object proves nothing of it."""
        md5 = to_hex(begun.object_md5)
        if len(begun.parts) != 1 or md5 is None or made.opaque or not self._objects.limits.etag_is_md5:
            return None
        return FinishedPart(part_number=1, md5=md5, etag=md5)

    async def _made(self, object_id: str, upload: UploadId) -> Specification | None:
        """What was made of this upload, None where the object that is there is of another. NotFound: it is lost."""
        final = await self._final(object_id)
        if final is None or final.upload_id != upload:
            return None
        stat = await self._objects.stat(self._layout.object(object_id))
        if stat is None or stat.size != final.object_size:
            raise NotFound(
                f"The object {object_id} was uploaded, but is lost from the store.", hint="Upload it again."
            )
        return final

    async def _assemble(
        self, object_id: str, upload: UploadId, plan: Plan, unrecorded: FinishedPart | None = None
    ) -> tuple[list[StoredPart], list[str], Sequence[str]]:
        """The parts to complete with, the MD5 of each, and the keys of their records; where there are none,
        ``unrecorded`` is the only part.

        Conflict: a part is missing or is another one.
        """
        finished = await self._finished.settle(object_id, upload, plan)
        records = finished.records or ({} if unrecorded is None else {1: unrecorded})
        if not len(plan):
            raise Conflict(f"The upload of {object_id} has no parts to complete.", hint="Start it again.")
        if missing := [number for number, _ in plan.parts() if number not in records]:
            raise Conflict(
                f"The upload of {object_id} is not complete: {len(missing)} of {len(plan)} parts are not finished,"
                f" the first of them number {missing[0]}."
            )
        parts, md5s = [], []
        for number, span in plan.parts():
            if number in finished.objections:
                raise refuse(object_id, number, finished.objections[number])
            record = records[number]
            parts.append(StoredPart(number, span.length, record.etag))
            md5s.append(record.md5)
        return parts, md5s, finished.keys

    async def forget(self, object_id: str, upload: UploadId, known: Sequence[str] | None = None) -> None:
        """Delete the state of an upload. ``known``: the keys of its records, where they are known.

        Where a crash leaves a part of it behind, that is of an upload that is gone from the store: cleanup finds it.
        """
        self._begun.plans.forget(object_id, upload)
        meta, folder = self._layout.upload_meta(object_id, upload), self._layout.folder(object_id, upload)
        if known is not None and len(known) <= _FEW:
            await self._state.delete(meta, *known)
            return
        await self._state.delete(meta)  # first, since with it the upload is in progress to every reader
        if await self._state.clear(folder):
            return
        if known is not None:
            await self._state.delete(*known)
        else:
            await sweep(self._state, folder)
