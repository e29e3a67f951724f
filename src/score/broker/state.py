"""What lies in the store, and where: key names and state documents, in the reference's layout. Protocol, section 4.

Pure: names and documents in, names and documents out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from typing import TypeVar

from score.errors import Conflict
from score.protocol.digests import is_md5
from score.protocol.ids import is_uuid
from score.protocol.parts import Span
from score.protocol.wire import FinishedPart, Part, Specification, from_json, to_json
from score.storage.base import PlannedPart, UploadId

META = ".meta"


@dataclass(frozen=True, slots=True)
class Layout:
    """Key names. ``data`` and ``uploads`` are the folders of the settings; ``data`` may be empty."""

    data: str = "data"
    uploads: str = "upload"

    @property
    def data_prefix(self) -> str:
        """What the keys of all objects begin with; may be empty."""
        return f"{self.data}/" if self.data else ""

    def object(self, object_id: str) -> str:
        """Key of the bytes."""
        return f"{self.data_prefix}{object_id}"

    def meta(self, object_id: str) -> str:
        """Key of the specification written at completion."""
        return f"{self.data_prefix}{object_id}{META}"

    def sentinel(self, name: str) -> str:
        """Key of the sentinel."""
        return f"{self.data_prefix}{name}"

    def uploads_of(self, object_id: str) -> str:
        """Prefix of the state of every upload of an object."""
        return f"{self.uploads}/{object_id}_"

    def folder(self, object_id: str, upload: str) -> str:
        """Prefix of the state of one upload."""
        return f"{self.uploads}/{object_id}_{upload}/"

    def upload_meta(self, object_id: str, upload: str) -> str:
        """Key of the specification of an upload in progress."""
        return f"{self.folder(object_id, upload)}{META}"

    def records_of(self, object_id: str, upload: str, number: int) -> str:
        """Prefix of the records of one finished part: one, or two of which the reference left the older."""
        return f"{self.folder(object_id, upload)}part-{number:08x}|"

    def record(self, object_id: str, upload: str, part: FinishedPart) -> str:
        """Key of the record of a finished part."""
        return f"{self.records_of(object_id, upload, part.part_number)}{to_json(part).decode()}"

    def upload_of(self, key: str) -> tuple[str, UploadId] | None:
        """Object id and upload id of a key or prefix under the folder of uploads; None where it is something else."""
        name = key.removeprefix(f"{self.uploads}/")
        if name == key or not is_uuid(name[:36]) or name[36:37] != "_":
            return None
        upload = name[37:].partition("/")[0]
        return (name[:36], UploadId(upload)) if upload else None

    def object_of(self, key: str) -> str | None:
        """The object that a key, or a prefix of keys, is of, however far it goes; None where it is of none."""
        for folder in (f"{self.uploads}/", self.data_prefix):
            name = key.removeprefix(folder)
            if key.startswith(folder) and is_uuid(name[:36]) and name[36:37] in ("", ".", "_"):
                return name[:36]
        return None


def read_record(key: str) -> FinishedPart | None:
    """The finished part that a key under an upload's folder stands for, None for other keys.

    Raises Conflict where the record is broken.
    """
    name = key.rpartition("/part-")[2]
    if name == key:
        return None
    number, bar, document = name.partition("|")
    try:
        record = from_json(FinishedPart, document)
        if bar and int(number, 16) == record.part_number > 0 and is_md5(record.md5) and record.etag:
            return record
    except ValueError:
        pass
    raise Conflict(
        f"The record {key!r} of a finished part is broken.", hint="Cancel this upload and start it again, or mend it."
    )


class InProgress(Specification, frozen=True):
    """The state document of an upload in progress. ``overwrite``: whether it may replace an object; those that the
    reference began may."""

    overwrite: bool = True


S = TypeVar("S", bound=Specification)


def read_specification(document: bytes, key: str) -> Specification:
    """A ``.meta`` document. Raises Conflict where it is broken: its parts must cover the object without gaps."""
    return read_state(Specification, document, key)


def read_state(kind: type[S], document: bytes, key: str) -> S:
    """The same of a kind that says more, as that of an upload in progress."""
    try:
        specification = from_json(kind, document)
    except ValueError:
        raise _broken(key, "it is no specification") from None
    at = 0
    for number, part in enumerate(specification.parts, 1):
        if part.part_number != number or part.offset != at or part.part_size < 0:
            raise _broken(key, f"its part {number} does not follow the one before")
        at += part.part_size
    if at != specification.object_size:
        raise _broken(key, f"its parts make {at} bytes, the object has {specification.object_size}")
    if specification.object_id.casefold() not in key.casefold():
        raise _broken(key, "it is of another object")
    return specification


def _broken(key: str, why: str) -> Conflict:
    return Conflict(f"The stored state {key!r} is broken: {why}.", hint="Upload the object again.")


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts of an upload without their URLs: 80 KB for 10,000 of them, where the document has 4 MB."""

    size: int
    sizes: Sequence[int]

    @classmethod
    def of(cls, specification: Specification) -> Plan:
        """The plan that a specification holds."""
        return cls(specification.object_size, array("q", (part.part_size for part in specification.parts)))

    @classmethod
    def cut(cls, spans: Iterable[Span]) -> Plan:
        """The plan with these consecutive spans."""
        sizes = array("q", (span.length for span in spans))
        return cls(sum(sizes), sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def part(self, number: int) -> int | None:
        """Bytes of part ``number``, None where there is no such part."""
        return self.sizes[number - 1] if 1 <= number <= len(self.sizes) else None

    def parts(self) -> Iterator[PlannedPart]:
        """All parts with the bytes of the object that each covers."""
        offsets = accumulate(self.sizes, initial=0)  # and the end, which has no size
        return map(PlannedPart, count(1), map(Span, offsets, self.sizes))


def new_upload(key: str, object_id: str, upload: UploadId, plan: Plan, md5: str | None, urls: Sequence[str]) -> bytes:
    """The specification of a new upload as JSON: the answer of the start, and with :func:`as_state` what is kept."""
    offsets = accumulate(plan.sizes, initial=0)  # and the end
    places = zip(offsets, zip(plan.sizes, urls, strict=True), strict=False)
    parts = [Part(number, size, offset, url) for number, (offset, (size, url)) in enumerate(places, 1)]
    return to_json(Specification(key, object_id, upload, parts, plan.size, md5))


def as_state(document: bytes, *, overwrite: bool) -> bytes:
    """The state document of a new upload. It is made of its specification as it is: to write 10,000 parts again would
    cost too much."""
    return document if overwrite else document.removesuffix(b"}") + b',"overwrite":false}'


def without_urls(begun: Specification, md5s: Sequence[str]) -> Specification:
    """The specification for good: no URLs, and the checksum of each part as it was uploaded."""
    parts = [
        Part(part_number=part.part_number, part_size=part.part_size, offset=part.offset, source_md5=md5)
        for part, md5 in zip(begun.parts, md5s, strict=True)
    ]
    return Specification(
        begun.object_key, begun.object_id, begun.upload_id, parts, begun.object_size, begun.object_md5
    )
