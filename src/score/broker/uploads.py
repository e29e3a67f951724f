"""Uploads: start, progress, parts, completion, cancellation. Protocol, sections 2 to 4.

Who may do it is decided before (``access``). Every step is recorded in the store before it is answered, so that any
server, also the reference's, can go on; a call repeated after a lost answer or a crash succeeds in the same way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from score.broker import audit
from score.broker.access import Access
from score.broker.begun import Begun, no_upload
from score.broker.buckets import Pair
from score.broker.documents import fetch
from score.broker.finished import FinishedParts, objection, refuse
from score.broker.plans import Known
from score.broker.state import Layout, Plan, new_upload, read_specification, without_urls
from score.broker.sweep import sweep
from score.broker.work import Work
from score.errors import AlreadyExists, Conflict, Integrity, Invalid, NotFound, NotReady
from score.protocol.digests import check_md5, to_hex
from score.protocol.ids import check_object_id, check_upload_id
from score.protocol.parts import plan_upload
from score.protocol.wire import FinishedPart, Part, Progress, Specification, to_json
from score.storage.base import ObjectStore, Prefix, StoredPart, UploadId, stored_part

log = logging.getLogger(__name__)

_BEGINNING = timedelta(seconds=10)
"""Within which the state of an upload is written, once the store began it."""


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
        self._completions = completions or Work()

    async def exists(self, object_id: str) -> bool:
        """Whether the object was uploaded to the end: its final ``.meta`` is there."""
        check_object_id(object_id)
        key = self._layout.meta(object_id)
        return any(await asyncio.gather(*[place.state.stat(key) for place in self._places]))

    async def start(self, object_id: str, size: int, md5: str | None = None, overwrite: bool = False) -> bytes:
        """Start an upload in place of any older one of that object; gives its specification as JSON.

        Raises Invalid (size or MD5 that cannot be), NotFound (not registered), NotReady (its analysis is not
        UNPUBLISHED), AlreadyExists (the object is there and ``overwrite`` is false).
        """
        check_object_id(object_id)
        limits = self._objects.limits
        if not 0 <= size <= limits.largest_object:
            raise Invalid(f"fileSize {size} is not between 0 and {limits.largest_object} bytes.")
        if md5 is not None and to_hex(md5) is None:
            raise Invalid(f"md5 {md5[:60]!r} is not an MD5 checksum.", hint="Expected 32 hex digits.")
        _, _, older = await _in_order(
            self._access.check_unpublished(object_id),
            _nothing() if overwrite else self._refuse_existing(object_id),
            self._begun.folders(object_id),
        )
        key = self._layout.object(object_id)
        await asyncio.gather(*[self.drop(object_id, upload) for upload in older])
        upload = await self._objects.begin(key)
        plan = Plan.cut(plan_upload(size, self._rules.part_size, limits.smallest_part))
        urls = self._objects.sign_parts(key, upload, list(plan.parts()), self._rules.url_life)
        document = new_upload(key, object_id, upload, plan, md5, urls)
        await self._state.put(self._layout.upload_meta(object_id, upload), document)
        self._begun.plans.keep(object_id, upload, Known(plan, md5))
        audit.note("upload", object_id, parts=len(plan), bytes=size)
        return document

    async def status(self, object_id: str, size: int) -> Progress:
        """How far the upload in progress is, with fresh URLs. Finished parts have ``md5`` and ``source_md5``.

        Raises NotFound (no upload in progress), Conflict (it is of another size; its state is broken).
        """
        specification = await self._in_progress(object_id, size)
        upload = UploadId(specification.upload_id)
        plan = Plan.of(specification)
        finished = await self._finished.settle(object_id, upload, plan)
        urls = self._objects.sign_parts(
            self._layout.object(object_id), upload, list(plan.parts()), self._rules.url_life
        )
        parts = [
            Part(
                part_number=part.part_number,
                part_size=part.part_size,
                offset=part.offset,
                url=url,
                md5=record.md5 if record else None,
                source_md5=record.md5 if record else None,
            )
            for part, url in zip(specification.parts, urls, strict=True)
            for record in (finished.agreed(part.part_number),)
        ]
        audit.note("upload", object_id, parts=len(parts), bytes=specification.object_size)
        return Progress(object_id=object_id, upload_id=upload, parts=parts)

    async def recover(self, object_id: str, size: int) -> None:
        """Nothing where an upload of that size is in progress, else NotFound or Conflict."""
        await self._in_progress(object_id, size)

    async def finish_part(self, object_id: str, upload_id: str, number: int, md5: str, etag: str) -> None:
        """Record a part as finished, once the store proves that it holds it. Its cost does not grow with the number
        of parts. Idempotent. The record of what was sent before under that number stays until the status is asked for
        or the upload is completed: to look for it would cost every part a call.

        Raises Invalid (a part or checksum that cannot be), NotFound (no such upload), Conflict (the store does not
        hold the part, or holds another one).
        """
        check_object_id(object_id)
        upload = UploadId(check_upload_id(upload_id))
        record = FinishedPart(part_number=number, md5=check_md5(md5), etag=self._check_etag(etag))
        known = await self._begun.known(object_id, upload)
        size = known.plan.part(number)
        if size is None:
            raise Invalid(f"partNumber {number}: the upload of {object_id} has the parts 1 to {len(known.plan)}.")
        stored = await self._finished.stored(object_id, upload, number)
        if why := objection(record, size, stored, etag_is_md5=self._objects.limits.etag_is_md5):
            raise refuse(object_id, number, why)
        key = self._layout.record(object_id, upload, record)
        await self._state.put(key, b"")
        known.record(record, key)

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
        Conflict (parts are missing or not as recorded), NotReady (the analysis is not UNPUBLISHED any more),
        Unavailable (it takes longer than a call is held, and goes on).
        """
        check_object_id(object_id)
        upload = UploadId(check_upload_id(upload_id))
        audit.note("completion", object_id)
        made = await self._completions.do(
            (object_id, upload), f"The completion of {object_id}", lambda: self._complete(object_id, upload)
        )
        audit.note("completion", object_id, parts=len(made.parts), bytes=made.object_size)

    async def cancel(self, object_id: str) -> None:
        """Drop the upload in progress with all its parts. NotFound where there is none."""
        check_object_id(object_id)
        audit.note("cancellation", object_id)
        upload = await self._begun.current(object_id)
        await self.drop(object_id, upload)

    async def cancel_all(self) -> int:
        """Drop every upload in progress; gives their number."""
        entries = [entry async for entry in self._state.scan(f"{self._layout.uploads}/", delimiter="/")]
        places = [self._layout.upload_of(entry.key) for entry in entries if isinstance(entry, Prefix)]
        audit.note("cancellation", uploads=sum(place is not None for place in places))
        for object_id, upload in filter(None, places):
            await self.drop(object_id, upload)
        return sum(place is not None for place in places)

    async def _complete(self, object_id: str, upload: UploadId) -> Specification:
        try:
            if known := await self._complete_known(object_id, upload):
                return known
            specification = await self._begun.specification(object_id, upload)
            (parts, md5s, keys), _ = await _in_order(
                self._assemble(object_id, upload, Plan.of(specification)), self._access.check_unpublished(object_id)
            )
            begun = await self._beginning(object_id, upload)
            await self._join(object_id, without_urls(specification, md5s), parts, begun)
        except (Conflict, NotFound, NotReady):
            made = await self._made(object_id, upload)
            if made is None:
                raise
            await self._forget(object_id, upload)  # done by another server, or before its answer was lost
            return made
        await self._forget(object_id, upload, keys)
        return specification

    async def _complete_known(self, object_id: str, upload: UploadId) -> Specification | None:
        """Complete an upload of which this server proved every part, without listing them again: the store takes only
        parts with the ETags that are named. None where it does not, or the state is gone: then others had a hand in
        it, and the store's own lists decide."""
        known = self._begun.plans.get(object_id, upload)
        if known is None or not known.whole:
            return None
        meta, _ = await _in_order(
            self._state.stat(self._layout.upload_meta(object_id, upload)), self._access.check_unpublished(object_id)
        )
        if meta is None:
            return None
        final = known.final(self._layout.object(object_id), object_id, upload)
        try:
            await self._join(object_id, final, known.stored(), meta.last_modified)
        except (Conflict, NotFound):
            return None
        await self._forget(object_id, upload, known.keys)
        return final

    async def _join(
        self, object_id: str, final: Specification, parts: list[StoredPart], begun: datetime | None
    ) -> None:
        """The object out of these parts, then its final ``.meta``; where a crash came between the two, the latter.
        ``begun``: when the upload began."""
        made = await self._objects.complete(self._layout.object(object_id), UploadId(final.upload_id), parts)
        if made.size != final.object_size:
            raise Integrity(
                f"The store made {made.size} bytes of the parts of {object_id}, not {final.object_size}.",
                hint="Upload it again with overwrite.",
            )
        # Not every store proves by an ETag what an object was made of, where ETags are no MD5s.
        if begun is not None and not self._objects.limits.etag_is_md5 and made.last_modified < begun - _BEGINNING:
            raise no_upload(object_id)  # an older object
        await self._state.put(self._layout.meta(object_id), to_json(final))

    async def _beginning(self, object_id: str, upload: UploadId) -> datetime | None:
        """When the upload began, where that is needed. NotFound: it is gone."""
        if self._objects.limits.etag_is_md5:
            return None
        meta = await self._state.stat(self._layout.upload_meta(object_id, upload))
        if meta is None:
            raise no_upload(object_id)
        return meta.last_modified

    async def _finish_joined(self, object_id: str, upload: UploadId) -> None:
        """Write the final ``.meta`` where the object is made of the parts of this upload, which is gone.

        Without it nobody would know the parts and their MD5s; with that of an older object in its place every
        download would fail.
        """
        made = await self._objects.stat(self._layout.object(object_id))
        if made is None:
            return
        try:
            specification = await self._begun.specification(object_id, upload)
            if specification.object_size == made.size and not await self._made(object_id, upload):
                parts, md5s, _ = await self._assemble(object_id, upload, Plan.of(specification))
                begun = await self._beginning(object_id, upload)
                await self._join(object_id, without_urls(specification, md5s), parts, begun)
                log.warning("Finished the upload %s of %s, which a crash left without its .meta.", upload, object_id)
        except (NotFound, Conflict):
            return  # no state to go by, parts that were never finished, or an object of other parts

    async def _made(self, object_id: str, upload: UploadId) -> Specification | None:
        """What was made of this upload, None where the object that is there is of another. NotFound: it is lost."""
        key = self._layout.meta(object_id)
        document = await fetch(self._state, key)
        try:
            final = None if document is None else read_specification(document, key)
        except Conflict:
            return None  # a broken one is written anew
        if final is None or final.upload_id != upload:
            return None
        stat = await self._objects.stat(self._layout.object(object_id))
        if stat is None or stat.size != final.object_size:
            raise NotFound(
                f"The object {object_id} was uploaded, but is lost from the store.", hint="Upload it again."
            )
        return final

    async def _assemble(
        self, object_id: str, upload: UploadId, plan: Plan
    ) -> tuple[list[StoredPart], list[str], Sequence[str]]:
        """The parts to complete with, the MD5 of each, and the keys of their records.

        Conflict: a part is missing or is another one.
        """
        finished = await self._finished.settle(object_id, upload, plan)
        if not len(plan):
            raise Conflict(f"The upload of {object_id} has no parts to complete.", hint="Start it again.")
        if missing := [number for number, _ in plan.parts() if number not in finished.records]:
            raise Conflict(
                f"The upload of {object_id} is not complete: {len(missing)} of {len(plan)} parts are not finished,"
                f" the first of them number {missing[0]}."
            )
        parts, md5s = [], []
        for number, span in plan.parts():
            if number in finished.objections:
                raise refuse(object_id, number, finished.objections[number])
            record = finished.records[number]
            parts.append(StoredPart(number, span.length, record.etag))
            md5s.append(record.md5)
        return parts, md5s, finished.keys

    def _check_etag(self, etag: str) -> str:
        if self._objects.limits.etag_is_md5:
            return check_md5(etag, "etag")
        if not etag.isascii() or not etag.replace("-", "").isalnum() or len(etag) > 128:
            raise Invalid(f"etag {etag[:60]!r} is not an ETag.", hint="Give it as the store did, without quotes.")
        return etag

    async def _refuse_existing(self, object_id: str) -> None:
        meta, key = self._layout.meta(object_id), self._layout.object(object_id)
        looks = [look for place in self._places for look in (place.state.stat(meta), place.objects.stat(key))]
        if any(await asyncio.gather(*looks)):
            raise AlreadyExists(f"The object {object_id} exists.", hint="Ask for overwrite to replace it.")

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
        """Abort the multipart upload and delete the records of its parts, then ``.meta``: in this order it can be
        repeated after a crash.

        One that a crash left between the joining of its parts and the final ``.meta`` is past that: it is finished.
        ``gently``: for a cleanup, which must not keep clients waiting.
        """
        key = self._layout.object(object_id)
        if await self._objects.stat(key) is not None:  # to ask for the parts first would cost more than all the rest
            try:
                await stored_part(self._objects, key, upload, 1)
            except NotFound:
                await self._finish_joined(object_id, upload)
        records = f"{self._layout.folder(object_id, upload)}part-"
        await asyncio.gather(self._objects.abort(key, upload), sweep(self._state, records, gently=gently))
        await self._forget(object_id, upload)

    async def _forget(self, object_id: str, upload: UploadId, known: Sequence[str] | None = None) -> None:
        """Delete the state of an upload. ``known``: the keys of its records, where they are known.

        Where a crash leaves a part of it behind, that is of an upload that is gone from the store: cleanup finds it.
        """
        self._begun.plans.forget(object_id, upload)
        meta = self._layout.upload_meta(object_id, upload)
        if known is not None:
            await self._state.delete(meta, *known)
            return
        await self._state.delete(meta)  # first, since with it the upload is in progress to every reader
        await sweep(self._state, self._layout.folder(object_id, upload))


async def _in_order(*works: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of all, which run at once; where some fail, the error of the first of them in this order."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


async def _nothing() -> None:
    """In place of a check that is not wanted."""
