"""Uploads to a store of the profile ``az``: clients put blocks under one URL and commit their list. Protocol, 10.

What an upload has so far is what the store holds: the ids of its blocks say where each begins and what its MD5 is.
Beside that there is one state document, so that an upload in progress is known by its id, and it is known what was
there before.

Clients of the reference end with the commitment and never say that they are through. So whoever asks whether an
object is there ends such an upload too: its size is checked, and its MD5 written to the object.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TypeGuard

from score.broker import audit
from score.broker.access import Access
from score.broker.begun import all_uploads, already_there, no_upload, stored, uploads_of, youngest
from score.broker.state import Layout
from score.errors import AlreadyExists, Conflict, Integrity, Invalid
from score.protocol.blocks import ID_LENGTH, UPLOAD_FIELD, lay, read_block
from score.protocol.digests import check_md5, to_hex
from score.protocol.ids import check_object_id, check_upload_id
from score.protocol.parts import Span
from score.protocol.wire import Part, Progress, Specification, from_json, to_json
from score.storage.base import Block, BlockStore, ObjectStat, PlannedPart, UploadId


class _Begun(Specification, frozen=True):
    """The state document of an upload in progress. ``replaces`` is the ETag of what was there when it began."""

    replaces: str = ""


class BlockUploads:
    """The uploads of one container; the same calls as :class:`~score.broker.uploads.Uploads`."""

    def __init__(self, objects: BlockStore, access: Access, layout: Layout, url_life: timedelta) -> None:
        self._objects = objects
        self._access = access
        self._layout = layout
        self._url_life = url_life

    async def completed(self, object_id: str) -> datetime | None:
        """When the object was uploaded to the end; None where it was not. Here it is ended where it is committed, but
        not yet ended."""
        check_object_id(object_id)
        stat = await self._objects.stat(self._layout.object(object_id))
        if stat is None or stat.content_md5 is not None:
            return stat.last_modified if stat else None
        begun = await self._latest(object_id)
        if begun is None or begun.replaces == stat.etag or not _may_be_of(stat, begun):
            return stat.last_modified  # another tool, or another upload, whose client has not ended it yet
        if stat.size != begun.object_size:
            return None
        await self._end(begun, stat)
        return stat.last_modified

    async def start(
        self, object_id: str, size: int, md5: str | None = None, overwrite: bool = False, *, afresh: bool = False
    ) -> bytes:
        """Start an upload in place of any older one of that object, whose blocks are dropped, but with ``afresh``
        where there is none; gives its specification as JSON: one part for the whole object.

        Raises Invalid (size or MD5 that cannot be), NotFound (not registered), NotReady (its analysis is not
        UNPUBLISHED), AlreadyExists (the object is there and ``overwrite`` is false, or there is state of an upload
        and ``afresh`` is true).
        """
        check_object_id(object_id)
        if not 0 <= size <= self._objects.limits.largest_object:
            raise Invalid(f"fileSize {size} is not between 0 and {self._objects.limits.largest_object} bytes.")
        if md5 is not None and to_hex(md5) is None:
            raise Invalid(f"md5 {md5[:60]!r} is not an MD5 checksum.", hint="Expected 32 hex digits.")
        await self._access.check_unpublished(object_id)
        key = self._layout.object(object_id)
        stat, older = await asyncio.gather(self._objects.stat(key), self._folders(object_id))
        if stat is not None and not overwrite:
            raise already_there(object_id)
        if afresh and older:
            raise AlreadyExists(f"An upload of {object_id} is in progress.", hint="Ask for its status.")
        upload = await self._objects.begin(key)
        await self._objects.abort(key, upload)
        if older and not overwrite and await self._objects.stat(key) is not None:
            # One of them was committed meanwhile, and its completion ends it.
            raise already_there(object_id)
        await self._forget(object_id, older)
        if stat is not None:
            stat = await self._objects.stat(key)  # dropping blocks may have given it another ETag
        whole = Part(part_number=1, part_size=size, offset=0)
        begun = _Begun(
            object_key=key,
            object_id=object_id,
            upload_id=upload,
            parts=[whole],
            object_size=size,
            object_md5=to_hex(md5),
            replaces=stat.etag if stat else "",
        )
        document = to_json(begun)
        await self._objects.put(self._layout.upload_meta(object_id, upload), document)
        audit.note("upload", object_id, parts=1, bytes=size)
        answer = from_json(Specification, document)  # without what is only for the state
        return to_json(answer.with_parts([whole.changed(url=self._url(object_id, upload))]))

    async def status(self, object_id: str, size: int) -> Progress:
        """How far the upload in progress is: a part for each block that the store holds, with its MD5, and one for
        each gap between them, all with one fresh URL.

        Raises NotFound (no upload in progress), Conflict (it is of another size; its state is broken; blocks of
        another program are in its way), NotReady (the analysis is not UNPUBLISHED any more: who has the URL could
        replace what is published).
        """
        begun = await self._in_progress(object_id, size)
        await self._access.check_unpublished(object_id)
        blocks = await self._objects.blocks(begun.object_key)
        if any(len(block.id) != ID_LENGTH for block in blocks.uncommitted):
            # They may be all that another upload of the object has: who starts anew drops them, who asks does not.
            raise Conflict(
                f"Blocks of another program wait for {object_id}, beside which Azure takes none of this upload: their"
                " ids have another length.",
                hint="Where that other upload is over, start this one again, which drops them.",
            )
        held = [found for block in blocks.uncommitted if (found := read_block(block.id, block.size))]
        url = self._url(object_id, begun.upload_id)
        parts = [
            Part(part_number=number, part_size=span.length, offset=span.offset, url=url, md5=md5, source_md5=md5)
            for number, (span, md5) in enumerate(lay(held, size), 1)
        ]
        audit.note("upload", object_id, parts=len(parts), bytes=size)
        return Progress(object_id=object_id, upload_id=begun.upload_id, parts=parts)

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
        """Nothing: the store's own list of blocks is the record. False: nothing is completed with it. NotFound: no
        such upload."""
        check_md5(md5)
        await self._require(object_id, upload_id)
        return False

    async def forget_part(self, object_id: str, upload_id: str, number: int) -> None:
        """Nothing: a block sent again replaces the one before. NotFound: no such upload."""
        await self._require(object_id, upload_id)

    async def complete(self, object_id: str, upload_id: str) -> None:
        """End an upload whose list of blocks the client has committed. Returns only when the object is there, with
        the right size and, where it is known, its MD5.

        Idempotent. Raises NotFound (no such upload, and the object is not of it), Conflict (not committed, or
        something else than was announced), NotReady (the analysis is not UNPUBLISHED any more).
        """
        check_object_id(object_id)
        check_upload_id(upload_id)
        audit.note("completion", object_id)
        key = self._layout.object(object_id)
        begun, stat = await asyncio.gather(self._read(object_id, upload_id), self._objects.stat(key))
        if begun is None:
            # Ended before; or begun by the reference, whose upload ids are the objects' ids and which keeps no state.
            if stat is not None and upload_id in (stat.metadata.get(UPLOAD_FIELD), object_id):
                audit.note("completion", object_id, parts=1, bytes=stat.size)
                return
            raise no_upload(object_id)
        if stat is None or stat.etag == begun.replaces:
            raise Conflict(
                f"The upload of {object_id} is not complete: its list of blocks was not committed.",
                hint="Commit the list of blocks (Put Block List), then complete.",
            )
        if not _may_be_of(stat, begun):
            raise Conflict(f"The object {object_id} is of another upload.", hint="Upload it again with overwrite.")
        await self._access.check_unpublished(object_id)
        await self._end(begun, stat)
        audit.note("completion", object_id, parts=1, bytes=stat.size)

    async def cancel(self, object_id: str, upload_id: str | None = None) -> None:
        """Drop the upload in progress with all its blocks; with ``upload_id`` that one, and no other that somebody
        began meanwhile. NotFound where there is none."""
        check_object_id(object_id)
        if upload_id is not None:
            check_upload_id(upload_id)
        audit.note("cancellation", object_id)
        uploads = [one for one in await self._folders(object_id) if upload_id in (None, one)]
        if not uploads:
            raise no_upload(object_id)
        for upload in uploads:
            await self.drop(object_id, upload)

    async def cancel_all(self) -> int:
        """Drop every upload in progress; gives their number."""
        places = [place async for place in all_uploads(self._objects, self._layout)]
        audit.note("cancellation", uploads=len(places))
        for object_id, upload in places:
            await self.drop(object_id, upload)
        return len(places)

    async def drop(self, object_id: str, upload: UploadId, *, gently: bool = False) -> None:
        """Drop the blocks, then the state: in this order it can be repeated after a crash. Blocks stay while another
        upload of the object is in progress, since nobody knows whose they are; one that was committed is ended.
        ``gently`` changes nothing here: there is little to delete."""
        key = self._layout.object(object_id)
        stat, uploads = await asyncio.gather(self._objects.stat(key), self._folders(object_id))
        try:
            begun = await self._read(object_id, upload)
            if begun is not None and _is_committed(stat, begun):
                await self._end(begun, stat)
                return
        except Conflict:
            pass  # a broken state, or an object that is not what was announced, is no reason to keep the state
        if set(uploads) <= {upload}:
            await self._objects.abort(key, upload)
        await self._forget(object_id, [upload])

    async def _end(self, begun: _Begun, stat: ObjectStat) -> None:
        """Check what was committed, write its MD5, drop the state of its upload. Conflict where it is not right."""
        blocks = await self._objects.blocks(stat.key)
        _check(begun, stat, blocks.committed)
        md5 = to_hex(begun.object_md5)
        if to_hex(stat.content_md5) is None and md5 is not None:
            sealed = await self._seal(stat, md5)
            if sealed.size != begun.object_size or to_hex(sealed.content_md5) != md5:
                raise Integrity(
                    f"The store has not kept the MD5 of {begun.object_id}.", hint="Complete the upload again."
                )
        await self._forget(begun.object_id, [UploadId(begun.upload_id)])

    async def _seal(self, stat: ObjectStat, md5: str) -> ObjectStat:
        try:
            return await self._objects.seal(stat, md5)
        except Conflict:
            now = await self._objects.stat(stat.key)
            if now is None or to_hex(now.content_md5) != md5:
                raise
            return now  # another call was faster

    async def _in_progress(self, object_id: str, size: int) -> _Begun:
        """The upload in progress. NotFound where there is none, or it was committed; Conflict: another size."""
        check_object_id(object_id)
        begun, stat = await asyncio.gather(
            self._latest(object_id), self._objects.stat(self._layout.object(object_id))
        )
        if begun is None:
            raise no_upload(object_id)
        if begun.object_size != size:
            raise Conflict(
                f"The upload in progress of {object_id} is of {begun.object_size} bytes, not {size}.",
                hint="Upload the file it was started with, or start again.",
            )
        if _is_committed(stat, begun):
            await self._end(begun, stat)
            raise no_upload(object_id)
        return begun

    async def _require(self, object_id: str, upload_id: str) -> None:
        """NotFound where there is no upload of this id."""
        check_object_id(object_id)
        check_upload_id(upload_id)
        if await self._read(object_id, upload_id) is None:
            raise no_upload(object_id)

    async def _latest(self, object_id: str) -> _Begun | None:
        """The upload in progress."""
        upload = await youngest(self._objects, self._layout, object_id)
        return await self._read(object_id, upload) if upload else None

    async def _read(self, object_id: str, upload_id: str) -> _Begun | None:
        return await stored(_Begun, self._objects, self._layout, object_id, upload_id)

    async def _folders(self, object_id: str) -> list[UploadId]:
        return await uploads_of(self._objects, self._layout, object_id)

    async def _forget(self, object_id: str, uploads: list[UploadId]) -> None:
        await self._objects.delete(*[self._layout.upload_meta(object_id, upload) for upload in uploads])

    def _url(self, object_id: str, upload_id: str) -> str:
        key, whole = self._layout.object(object_id), PlannedPart(1, Span(0, 0))
        return self._objects.sign_parts(key, UploadId(upload_id), [whole], self._url_life)[0]


def _is_committed(stat: ObjectStat | None, begun: _Begun) -> TypeGuard[ObjectStat]:
    """Whether what is there came after the upload began, is as large as it was announced, and is not said to be of
    another one."""
    return (
        stat is not None
        and stat.etag != begun.replaces
        and stat.size == begun.object_size
        and _may_be_of(stat, begun)
    )


def _may_be_of(stat: ObjectStat, begun: _Begun) -> bool:
    """Whether an object is of an upload, as far as it says; those of the reference's clients do not."""
    return stat.metadata.get(UPLOAD_FIELD, begun.upload_id) == begun.upload_id


def _check(begun: _Begun, stat: ObjectStat, blocks: list[Block]) -> None:
    """Conflict, unless what was committed is what was announced: by size, by MD5, and by where its blocks belong.

    A blob that was put in one piece has no blocks; blocks of other programs have ids that say nothing.
    """
    hint = "Upload it again with overwrite."
    if stat.size != begun.object_size:
        raise Conflict(
            f"{stat.size} bytes of {begun.object_id} were committed, but {begun.object_size} were announced.",
            hint=hint,
        )
    announced, stored = to_hex(begun.object_md5), to_hex(stat.content_md5)
    if announced and stored and announced != stored:
        raise Conflict(f"{begun.object_id} was committed with another MD5 than was announced.", hint=hint)
    at = 0
    for block in blocks:
        found = read_block(block.id, block.size)
        if found is not None and found.span.offset != at:
            raise Conflict(f"The blocks of {begun.object_id} were committed in a wrong order.", hint=hint)
        if found is not None and len(blocks) == 1 and announced and found.md5 != announced:
            raise Conflict(f"{begun.object_id} was committed with another MD5 than was announced.", hint=hint)
        at += block.size
