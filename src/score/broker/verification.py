"""Reading objects again, to find bytes that changed where they lie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from score.broker.documents import fetch
from score.broker.state import META, Layout, read_specification
from score.errors import Conflict
from score.protocol.digests import new_md5, to_hex
from score.protocol.ids import is_uuid
from score.protocol.parts import MIB, Span
from score.protocol.wire import Specification
from score.storage.base import ObjectStat, ObjectStore

_BLOCK = 8 * MIB


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one object: ``problem`` is empty when its bytes are as they were uploaded; ``unproven``: there is no
    checksum to compare with."""

    object_id: str
    size: int
    problem: str = ""
    unproven: bool = False


class Verification:
    """Reads the objects of one pair of buckets. Holds one block of bytes at a time."""

    def __init__(self, objects: ObjectStore, state: ObjectStore, layout: Layout) -> None:
        self._objects = objects
        self._state = state
        self._layout = layout

    async def run(self) -> AsyncIterator[Verdict]:
        """A verdict on each object, then on those that are lost though their specification is there."""
        prefix = self._layout.data_prefix
        async for entry in self._objects.scan(prefix):
            object_id = entry.key.removeprefix(prefix)
            if isinstance(entry, ObjectStat) and is_uuid(object_id):
                yield await self._verify(object_id, entry)
        async for entry in self._state.scan(prefix):
            object_id = entry.key.removeprefix(prefix).removesuffix(META)
            if entry.key == self._layout.meta(object_id) and is_uuid(object_id):
                key = self._layout.object(object_id)
                if await self._objects.stat(key) is None:
                    yield Verdict(object_id, 0, "Its specification is there, the object is lost.")

    async def _verify(self, object_id: str, found: ObjectStat) -> Verdict:
        key = self._layout.meta(object_id)
        document = await fetch(self._state, key)
        if document is None:
            return Verdict(object_id, found.size, unproven=True)
        try:
            specification = read_specification(document, key)
        except Conflict as error:
            return Verdict(object_id, found.size, error.message)
        if specification.object_size != found.size:
            said = f"It has {found.size} bytes, not {specification.object_size}."
            return Verdict(object_id, found.size, said)
        return Verdict(object_id, found.size, await self._compare(found.key, specification))

    async def _compare(self, key: str, specification: Specification) -> str:
        """What is wrong with the bytes."""
        whole = new_md5()
        wrong = []
        for part in specification.parts:
            md5 = new_md5()
            for at in range(part.offset, part.span.end, _BLOCK):
                data = await self._objects.read(key, Span(at, min(_BLOCK, part.span.end - at)))
                md5.update(data)
                whole.update(data)
            if part.source_md5 and part.source_md5.lower() != md5.hexdigest():
                wrong.append(part)
        if wrong:
            first = wrong[0]
            return (
                f"{len(wrong)} of {len(specification.parts)} parts have other bytes than were uploaded, the first of"
                f" them number {first.part_number} (bytes {first.offset} to {first.span.end - 1})."
            )
        expected = to_hex(specification.object_md5)
        if expected and expected != whole.hexdigest():
            return f"Its MD5 is {whole.hexdigest()}, not {expected} as told at the start of its upload."
        return ""
