"""Uploads: start, progress, parts, completion, cancellation. Protocol, sections 2 to 4.

Who may do it is decided before (``access``). Every step is recorded in the store before it is answered, so that any
server, also the reference's, can go on; a call repeated after a lost answer or a crash succeeds in the same way. Of a
small file that is begun afresh nothing is recorded: the call that ends its upload tells all that there is to know
(decision 30).
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from score.broker import audit
from score.broker.access import Access
from score.broker.begun import Begun, all_uploads, already_there, no_upload, uploads_of
from score.broker.buckets import Pair
from score.broker.completion import Completion
from score.broker.finished import FinishedParts, objection, refuse
from score.broker.plans import Known
from score.broker.state import Layout, Plan, as_state, new_upload
from score.broker.sweep import sweep
from score.broker.together import in_order
from score.broker.work import Work
from score.errors import AlreadyExists, Conflict, Invalid, NotFound, NotReady
from score.protocol.digests import check_md5, etag_md5, to_hex
from score.protocol.ids import check_object_id, check_upload_id
from score.protocol.parts import SMALLEST_PART, plan_upload
from score.protocol.wire import FinishedPart, Part, Progress, Specification
from score.storage.base import ObjectStore, UploadId, stored_part

_ETAG = re.compile(r"[!#-\[\]-~]{1,128}\Z")
"""What can be seen, without quotes and backslashes, which no store gives and JSON would have to mask."""


@dataclass(frozen=True, slots=True)
class UploadRules:
    """``part_size``: bytes wanted for each part; ``url_life`` of the URLs to PUT parts."""

    part_size: int = 20_000_000
    url_life: timedelta = timedelta(days=6)


class Uploads:
    """The uploads of one pair of buckets, which may be the same one.

    An object that lies in the pair of ``older`` buckets, where there is one, exists too.
    """

    def __init__(
        self,
        objects: ObjectStore,
        state: ObjectStore,
        access: Access,
        layout: Layout,
        rules: UploadRules,
        older: Pair | None = None,
        completions: Work | None = None,
    ) -> None:
        self._places = [Pair(objects, state), *([older] if older else [])]
        self._objects = objects
        self._state = state
        self._access = access
        self._layout = layout
        self._rules = rules
        self._begun = Begun(state, layout)
        self._finished = FinishedParts(objects, state, layout)
        self._completion = Completion(
            objects, state, access, layout, self._begun, self._finished, completions or Work()
        )

    async def completed(self, object_id: str) -> datetime | None:
        """When the object was uploaded to the end: its final ``.meta`` is there. None where it was not."""
        check_object_id(object_id)
        key = self._layout.meta(object_id)
        found = await asyncio.gather(*[place.state.stat(key) for place in self._places])
        return next((stat.last_modified for stat in found if stat is not None), None)

    async def start(
        self, object_id: str, size: int, md5: str | None = None, overwrite: bool = False, *, afresh: bool = False
    ) -> bytes:
        """Start an upload in place of any older one of that object, but with ``afresh`` where there is none; gives
        its specification as JSON.

        Raises Invalid (size or MD5 that cannot be), NotFound (not registered), NotReady (its analysis is not
        UNPUBLISHED), AlreadyExists (the object is there and ``overwrite`` is false, or there is state of an upload
        and ``afresh`` is true).
        """
        check_object_id(object_id)
        if not 0 <= size <= self._objects.limits.largest_object:
            raise Invalid(f"fileSize {size} is not between 0 and {self._objects.limits.largest_object} bytes.")
        if md5 is not None and to_hex(md5) is None:
            raise Invalid(f"md5 {md5[:60]!r} is not an MD5 checksum.", hint="Expected 32 hex digits.")
        _, _, older = await in_order(
            self._access.check_unpublished(object_id),
            _nothing() if overwrite else self._refuse_existing(object_id, size, md5),
            uploads_of(self._state, self._layout, object_id),
        )
        if afresh and older:
            raise AlreadyExists(f"An upload of {object_id} is in progress.", hint="Ask for its status.")
        key = self._layout.object(object_id)
        await asyncio.gather(*[self.drop(object_id, upload) for upload in older])
        if older and not overwrite:
            await self._refuse_existing(object_id, size, md5)  # one of them may have been completed meanwhile
        upload = await self._objects.begin(key)
        known = Known(self._plan(size), md5, overwrite, kept=not (afresh and self._is_small(size)))
        document = self._document(object_id, upload, known)
        if known.kept:
            await self._keep(object_id, upload, known, document)
        self._begun.plans.keep(object_id, upload, known)
        audit.note("upload", object_id, parts=len(known.plan), bytes=size)
        return document

    async def status(self, object_id: str, size: int) -> Progress:
        """How far the upload in progress is, with fresh URLs. Finished parts have ``md5`` and ``source_md5``.

        Raises NotFound (no upload in progress, or none that the store knows), Conflict (it is of another size; its
        state is broken).
        """
        specification = await self._in_progress(object_id, size)
        upload = UploadId(specification.upload_id)
        plan = Plan.of(specification)
        finished = await self._finished.settle(object_id, upload, plan)
        md5s = {number: record.md5 for number in finished.records if (record := finished.agreed(number))}
        if finished.gone:
            made = await self._completion.finish_joined(object_id, upload)
            if made is None:  # the store has dropped it, as MinIO does after a day, and rules of a bucket do
                raise no_upload(object_id)
            md5s = {part.part_number: part.source_md5 for part in made.parts if part.source_md5}
        urls = self._objects.sign_parts(
            self._layout.object(object_id), upload, list(plan.parts()), self._rules.url_life
        )
        parts = [
            Part(
                part_number=part.part_number,
                part_size=part.part_size,
                offset=part.offset,
                url=url,
                md5=md5s.get(part.part_number),
                source_md5=md5s.get(part.part_number),
            )
            for part, url in zip(specification.parts, urls, strict=True)
        ]
        audit.note("upload", object_id, parts=len(parts), bytes=specification.object_size)
        return Progress(object_id=object_id, upload_id=upload, parts=parts)

    async def recover(self, object_id: str, size: int) -> None:
        """Nothing where an upload of that size is in progress, else NotFound or Conflict."""
        await self._in_progress(object_id, size)

    async def finish_part(
        self,
        object_id: str,
        upload_id: str,
        number: int,
        md5: str,
        etag: str,
        *,
        size: int | None = None,
        complete: bool = False,
    ) -> bool:
        """Record a part as finished, once the store proves that it holds it. Its cost does not grow with the number
        of parts. Idempotent. The record of what was sent before under that number stays until the status is asked for
        or the upload is completed: to look for it would cost every part a call.

        With ``complete``, the upload is completed at once if this server saw all its parts; true where it was. Where
        that does not go, the part is recorded all the same, and :meth:`complete` says why. The only part of an upload
        need not be looked for: the store joins one of that ETag, or none. ``size``: bytes of the file, for a server
        that does not know of the upload of a small one; only now is there state of it, if it is not completed.

        Raises Invalid (a part or checksum that cannot be), NotFound (no such upload), Conflict (the store does not
        hold the part, or holds another one); with ``complete`` AlreadyExists, as :meth:`complete` does.
        """
        check_object_id(object_id)
        upload = UploadId(check_upload_id(upload_id))
        record = FinishedPart(part_number=number, md5=check_md5(md5), etag=_check_etag(etag))
        try:
            known = await self._known(object_id, upload, record, size)
            length = known.plan.part(number)
            if length is None:
                raise Invalid(f"partNumber {number}: the upload of {object_id} has the parts 1 to {len(known.plan)}.")
            proving = self._objects.limits.etag_is_md5 and record.etag == record.md5
            alone = known.alone(record) if complete and proving else None
            if alone is not None and await self._try_to_complete(object_id, upload, alone):
                return True
            stored = await self._finished.stored(object_id, upload, number)
        except NotFound:
            if not complete:
                raise
            await self.complete(object_id, upload_id)  # it was, and the answer got lost, or a crash came in between
            return True
        etag_is_md5 = await self._finished.etags_are_md5(object_id, upload, [record])
        if why := objection(record, length, stored, etag_is_md5=etag_is_md5):
            raise refuse(object_id, number, why)
        if not known.kept:
            await self._keep(object_id, upload, known, self._document(object_id, upload, known))
        key = self._layout.record(object_id, upload, record)
        await self._state.put(key, b"")
        known.record(record, key)
        return complete and known.whole and await self._try_to_complete(object_id, upload)

    async def forget_part(self, object_id: str, upload_id: str, number: int) -> None:
        """Drop the record of a finished part, so that it is sent again. Idempotent. NotFound: no such upload."""
        check_object_id(object_id)
        upload = UploadId(check_upload_id(upload_id))
        known = await self._begun.known(object_id, upload)
        if known.plan.part(number) is None:
            raise Invalid(f"partNumber {number}: the upload of {object_id} has the parts 1 to {len(known.plan)}.")
        known.drop(number)
        await sweep(self._state, self._layout.records_of(object_id, upload, number))

    async def complete(self, object_id: str, upload_id: str) -> None:
        """Make the object of its finished parts. Returns only when the object and its ``.meta`` are there.

        Idempotent, also after a crash at any moment; calls that come while one is under way wait for it, whether the
        one who asked first is still there or not. Raises NotFound (no such upload, and the object is not of it),
        Conflict (parts are missing or not as recorded), AlreadyExists (an object has come since the upload was
        started, which was not to replace any: the upload is over), NotReady (the analysis is not UNPUBLISHED any
        more), Unavailable (it takes longer than a call is held, and goes on).
        """
        check_object_id(object_id)
        await self._complete(object_id, UploadId(check_upload_id(upload_id)))

    async def cancel(self, object_id: str, upload_id: str | None = None) -> None:
        """Drop the upload in progress with all its parts; with ``upload_id`` that one, and no other that somebody
        began meanwhile. NotFound where there is none."""
        check_object_id(object_id)
        named = None if upload_id is None else UploadId(check_upload_id(upload_id))
        audit.note("cancellation", object_id)
        if named is None:
            named = await self._begun.current(object_id)
        elif named not in await uploads_of(self._state, self._layout, object_id):
            known = self._begun.plans.get(object_id, named)
            if known is None or known.kept:
                raise no_upload(object_id)
        await self.drop(object_id, named)

    async def cancel_all(self) -> int:
        """Drop every upload in progress; gives their number."""
        places = [place async for place in all_uploads(self._state, self._layout)]
        audit.note("cancellation", uploads=len(places))
        for object_id, upload in places:
            await self.drop(object_id, upload)
        return len(places)

    async def _complete(self, object_id: str, upload: UploadId, known: Known | None = None) -> None:
        audit.note("completion", object_id)
        made = await self._completion.complete(object_id, upload, known)
        audit.note("completion", object_id, parts=len(made.parts), bytes=made.object_size)

    async def _try_to_complete(self, object_id: str, upload: UploadId, known: Known | None = None) -> bool:
        """Complete an upload; false where that does not go."""
        try:
            await self._complete(object_id, upload, known)
        except (Conflict, NotFound, NotReady):
            audit.note("")  # it is the record of a part, after all
            return False
        return True

    def _is_small(self, size: int) -> bool:
        """Whether a file of ``size`` bytes is one part in any case, of which an object's ETag tells the bytes."""
        return 0 <= size <= SMALLEST_PART and self._objects.limits.etag_is_md5

    def _plan(self, size: int) -> Plan:
        return Plan.cut(plan_upload(size, self._rules.part_size, self._objects.limits.smallest_part))

    def _document(self, object_id: str, upload: UploadId, known: Known) -> bytes:
        """The specification of a new upload as JSON, with fresh URLs."""
        key = self._layout.object(object_id)
        urls = self._objects.sign_parts(key, upload, list(known.plan.parts()), self._rules.url_life)
        return new_upload(key, object_id, upload, known.plan, known.md5, urls)

    async def _keep(self, object_id: str, upload: UploadId, known: Known, document: bytes) -> None:
        """Write the state of a new upload."""
        state = as_state(document, overwrite=known.overwrite)
        await self._state.put(self._layout.upload_meta(object_id, upload), state)
        known.kept = True

    async def _known(self, object_id: str, upload: UploadId, record: FinishedPart, size: int | None) -> Known:
        """What there is to know of an upload; of that of a small file what is told of it now. NotFound, Conflict."""
        try:
            return await self._begun.known(object_id, upload)
        except NotFound:
            if size is None or not self._is_small(size):
                raise
            return Known(self._plan(size), record.md5, overwrite=False, kept=False)

    async def _refuse_existing(self, object_id: str, size: int, md5: str | None) -> None:
        """AlreadyExists where there is anything of the object. If that is what a crash left of this very file, a
        small one whose upload had no state, its ``.meta`` is written first."""
        meta, key = self._layout.meta(object_id), self._layout.object(object_id)
        looks = [look for place in self._places for look in (place.objects.stat(key), place.state.stat(meta))]
        made, *others = await asyncio.gather(*looks)
        whole = to_hex(md5)
        if made is not None and not any(others) and whole and self._is_small(size) and made.size == size:
            await self._completion.finish_small(object_id, made, whole)
        if made is not None or any(others):
            raise already_there(object_id)

    async def _in_progress(self, object_id: str, size: int) -> Specification:
        """The specification of the upload in progress. NotFound where there is none, Conflict: of another size."""
        check_object_id(object_id)
        specification = await self._begun.specification(object_id, await self._begun.current(object_id))
        if specification.object_size != size:
            raise Conflict(
                f"The upload in progress of {object_id} is of {specification.object_size} bytes, not {size}.",
                hint="Upload the file it was started with, or start again.",
            )
        return specification

    async def drop(self, object_id: str, upload: UploadId, *, gently: bool = False) -> None:
        """Abort the multipart upload, then delete the records of its parts, then ``.meta``: in this order it can be
        repeated after a crash.

        One that a crash left between the joining of its parts and the final ``.meta`` is past that: it is finished.
        ``gently``: for a cleanup, which must not keep clients waiting.
        """
        key = self._layout.object(object_id)
        if await self._objects.stat(key) is not None:  # to ask for the parts first would cost more than all the rest
            try:
                await stored_part(self._objects, key, upload, 1)
            except NotFound:
                await self._completion.finish_joined(object_id, upload)
        await self._objects.abort(key, upload)
        folder = self._layout.folder(object_id, upload)
        if gently or not await self._state.clear(folder):
            await sweep(self._state, f"{folder}part-", gently=gently)
            await self._state.delete(self._layout.upload_meta(object_id, upload))
            if not gently or not await self._state.clear(folder):  # little is left, and older versions
                await sweep(self._state, folder, gently=gently)
        self._begun.plans.forget(object_id, upload)


def _check_etag(etag: str) -> str:
    """``etag``, in lower case where it is an MD5. Raises Invalid where it is none."""
    if _ETAG.match(etag) is None:
        raise Invalid(f"etag {etag[:60]!r} is not an ETag.", hint="Give it as the store did, without quotes.")
    return etag_md5(etag) or etag


async def _nothing() -> None:
    """In place of a check that is not wanted."""
