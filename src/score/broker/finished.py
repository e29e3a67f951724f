"""The finished parts of an upload: what their records say, against what the store holds. Protocol, section 4.

A record is an empty object whose key says everything. The reference leaves the older record of a part that was sent
again, believes any MD5 that it is told, and then can never complete that upload. So the store decides: of the records
of one part that one counts which the store's part agrees with, and those that it contradicts are deleted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from score.broker.state import Layout, Plan, read_record
from score.broker.together import Together
from score.errors import Conflict, NotFound
from score.protocol.digests import etag_md5
from score.protocol.wire import FinishedPart
from score.storage.base import ObjectStat, ObjectStore, StoredPart, UploadId


@dataclass(frozen=True, slots=True)
class Finished:
    """Of one upload: the one ``records`` of each part, and what is held against some of them, in words, by number.

    ``keys`` are those of all records that were there. ``gone``: the store has no such upload any more, it was joined
    to an object, or lost.
    """

    records: Mapping[int, FinishedPart]
    objections: Mapping[int, str]
    keys: Sequence[str]
    gone: bool

    def agreed(self, number: int) -> FinishedPart | None:
        """The record of a part that is finished, None where it is to be sent (again)."""
        return None if number in self.objections else self.records.get(number)


def objection(record: FinishedPart, size: int, stored: StoredPart | None, *, etag_is_md5: bool) -> str:
    """Why a record of a part of ``size`` bytes does not stand for what the store holds; empty where it does."""
    if stored is None:
        return "is not in the store"
    if stored.etag.lower() != record.etag.lower():
        return "has another ETag in the store than the one given"
    if stored.size != size:
        return f"has {stored.size} bytes in the store, not {size}"
    if etag_is_md5 and (etag_md5(stored.etag) or record.md5) != record.md5.lower():
        return "has another MD5 in the store than the one given"
    return ""


_UPLOADS = 500
"""Uploads of which it is remembered whether their ETags are MD5s."""
_PATIENCE = 0.1
"""Of how long a look at the parts took, for others who want to know of parts of the same upload."""


class _Record(NamedTuple):
    written: datetime
    key: str
    part: FinishedPart


class FinishedParts:
    """The finished parts of the uploads of one pair of buckets."""

    def __init__(self, objects: ObjectStore, state: ObjectStore, layout: Layout) -> None:
        self._objects = objects
        self._state = state
        self._layout = layout
        self._looking: Together[tuple[str, str], Mapping[int, StoredPart]] = Together(_PATIENCE)
        self._looked_for: dict[tuple[str, str], set[int]] = {}
        self._asking: Together[UploadId, bool] = Together()
        self._told: OrderedDict[UploadId, bool] = OrderedDict()

    async def stored(self, object_id: str, upload: UploadId, number: int) -> StoredPart | None:
        """A part as the store holds it, None while it does not. NotFound: no such upload.

        Parts that are asked for while a look at the same upload is under way share the next one: that of many
        clients at once costs each little, and spares stores that read all parts for each listing, as MinIO does.
        """
        upload_key = (object_id, upload)

        async def look() -> Mapping[int, StoredPart]:
            numbers = self._looked_for.pop(upload_key)
            return await self._objects.find_parts(self._layout.object(object_id), upload, numbers)

        self._looked_for.setdefault(upload_key, set()).add(number)
        return (await self._looking.ask(upload_key, look)).get(number)

    async def etags_are_md5(self, object_id: str, upload: UploadId, records: Iterable[FinishedPart]) -> bool:
        """Whether the ETags of an upload's parts are their MD5s. The store is asked where a record has two that
        differ, and once for each upload: not every bucket and gateway makes MD5s, and no setting needs to say so."""
        if all(etag_md5(record.etag) in (None, record.md5.lower()) for record in records):
            return True

        async def ask() -> bool:
            if upload not in self._told:
                self._told[upload] = await self._objects.etags_are_md5(self._layout.object(object_id))
                if len(self._told) > _UPLOADS:
                    self._told.popitem(last=False)
            return self._told[upload]

        return await self._asking.ask(upload, ask)

    async def settle(self, object_id: str, upload: UploadId, plan: Plan) -> Finished:
        """One record for each part. Records that the store's part contradicts are deleted, so that the reference,
        too, can complete. Where the upload is gone from the store, joined to an object or lost, the records stand.

        Raises Conflict where there is only a broken record of a part.
        """
        # The store is asked after the records are read: each was proven before it was written, so that a record
        # which differs from what the store holds then is of bytes that were replaced.
        records, stale = await self._records(object_id, upload)
        keys = [one.key for found in records.values() for one in found] + stale
        held = await self._held(object_id, upload)
        recorded = [one.part for found in records.values() for one in found]
        etag_is_md5 = held is None or await self.etags_are_md5(object_id, upload, recorded)
        chosen: dict[int, FinishedPart] = {}
        objections: dict[int, str] = {}
        for number, found in records.items():
            best = found[-1]
            size = plan.part(number)
            if held is not None and size is not None:
                stored = held.get(number)
                whys = [objection(one.part, size, stored, etag_is_md5=etag_is_md5) for one in found]
                agreeing = [one for one, why in zip(found, whys, strict=True) if not why]
                if agreeing:
                    best = agreeing[-1]
                else:
                    objections[number] = whys[-1]
                if stored is not None:
                    stale += [one.key for one in found if one is not best or not agreeing]
            chosen[number] = best.part
        if stale:
            await self._state.delete(*stale)
        return Finished(chosen, objections, keys, gone=held is None)

    async def _records(self, object_id: str, upload: UploadId) -> tuple[dict[int, list[_Record]], list[str]]:
        """By number the records of each part, from the oldest to the youngest; and the keys of broken ones, in whose
        place there is another."""
        prefix = f"{self._layout.folder(object_id, upload)}part-"
        found: dict[int, list[_Record]] = {}
        broken: list[tuple[str, Conflict]] = []
        async for entry in self._state.scan(prefix):
            if not isinstance(entry, ObjectStat):
                continue
            try:
                part = read_record(entry.key)
            except Conflict as error:
                broken.append((entry.key, error))
                continue
            if part is not None:
                found.setdefault(part.part_number, []).append(_Record(entry.last_modified, entry.key, part))
        for records in found.values():
            records.sort(key=lambda one: one.written)
        replaced = tuple(f"{prefix}{number:08x}|" for number in found)
        for key, fault in broken:
            if not key.startswith(replaced):
                raise fault
        return found, [key for key, _ in broken]

    async def _held(self, object_id: str, upload: UploadId) -> dict[int, StoredPart] | None:
        """The parts that the store holds, by number; None where it completed them, or lost them, before."""
        try:
            parts = self._objects.stored_parts(self._layout.object(object_id), upload)
            return {part.number: part async for part in parts}
        except NotFound:
            return None


def refuse(object_id: str, number: int, why: str) -> Conflict:
    """The refusal of a part, with an objection to it."""
    return Conflict(f"Part {number} of {object_id} {why}.", hint="Send the part again.")
