"""What a server remembers of the uploads that it deals with, so that their calls need not read the state again.

Nothing is in here that is not in the store as well, or that a client does not tell again: what is forgotten, or was
done by another server, costs a call.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

from score.broker.state import InProgress, Plan
from score.protocol.wire import FinishedPart, Part, Specification
from score.storage.base import StoredPart, UploadId

_UPLOADS = 500
"""Uploads that are remembered."""
_PARTS = 32
"""Parts of an upload up to which its records are remembered; with more, listing them costs little for each."""


@dataclass(slots=True)
class Known:
    """An upload: its plan, the whole file's MD5 as it was told, whether it may replace an object, whether there is
    state of it in the store, and the records that this server wrote, each after the store had proven its part.
    ``keys`` are those of all of them, also of such as were replaced."""

    plan: Plan
    md5: str | None
    overwrite: bool = True
    kept: bool = True
    records: dict[int, FinishedPart] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, begun: InProgress) -> Known:
        """What the state document of an upload tells."""
        return cls(Plan.of(begun), begun.object_md5, begun.overwrite)

    def record(self, part: FinishedPart, key: str) -> None:
        """A record was written."""
        if len(self.plan) <= _PARTS:
            self.records[part.part_number] = part
            if key not in self.keys:
                self.keys.append(key)

    def alone(self, part: FinishedPart) -> Known | None:
        """The upload as it is with this part recorded, where it has no other one."""
        if len(self.plan) != 1 or part.part_number != 1:
            return None
        return replace(self, records={1: part})

    def drop(self, number: int) -> None:
        """The records of a part are deleted."""
        self.records.pop(number, None)

    @property
    def whole(self) -> bool:
        """Whether every part was proven by this server."""
        return 0 < len(self.plan) == len(self.records)

    def stored(self) -> list[StoredPart]:
        """The parts as the store held them when they were proven; of a whole one."""
        return [StoredPart(number, span.length, self.records[number].etag) for number, span in self.plan.parts()]

    def final(self, key: str, object_id: str, upload: UploadId) -> Specification:
        """The specification for good; of a whole one."""
        parts = [
            Part(part_number=number, part_size=span.length, offset=span.offset, source_md5=self.records[number].md5)
            for number, span in self.plan.parts()
        ]
        return Specification(
            object_key=key,
            object_id=object_id,
            upload_id=upload,
            parts=parts,
            object_size=self.plan.size,
            object_md5=self.md5,
        )


class Plans:
    """The uploads that this server dealt with last, by object and upload."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Known] = OrderedDict()

    def get(self, object_id: str, upload: UploadId) -> Known | None:
        """What is remembered of an upload."""
        known = self._known.get((object_id, upload))
        if known is not None:
            self._known.move_to_end((object_id, upload))
        return known

    def keep(self, object_id: str, upload: UploadId, known: Known) -> Known:
        """Remember an upload."""
        self._known[object_id, upload] = known
        if len(self._known) > _UPLOADS:
            self._known.popitem(last=False)
        return known

    def forget(self, object_id: str, upload: UploadId) -> None:
        """The upload is over."""
        self._known.pop((object_id, upload), None)
