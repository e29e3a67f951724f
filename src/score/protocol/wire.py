"""The JSON documents of the protocol, section 3. Unknown fields are ignored by every reader."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Self, TypeVar

import msgspec
from msgspec.structs import replace

from score.protocol.parts import Span

T = TypeVar("T")

FEATURES = "Score-Features"
"""Header of the answer to ``GET /profile``: the names of calls that the reference's server does not have."""
SHORT_UPLOADS = "short-uploads"
"""``POST /upload/{id}/begin``, and ``complete=true`` of ``POST /upload/{id}/parts``."""


class Wire(msgspec.Struct, frozen=True, rename="camel"):
    """Base of the wire documents: camel-case names as they travel, immutable. Checked when read, not when made."""

    def changed(self, **changes: object) -> Self:
        """The same with other values in these fields."""
        return replace(self, **changes)


class Part(Wire, frozen=True):
    """A byte range of an object and the pre-signed URL to PUT or GET it.

    ``md5`` is the checksum of the local copy (set by a client), ``source_md5`` the one recorded when the part
    was uploaded. ``part_size`` is -1 for the one part of an external specification.
    """

    part_number: int
    part_size: int
    offset: int
    url: str | None = None
    md5: str | None = None
    source_md5: str | None = None

    def __repr__(self) -> str:
        """Without the URL, whose signature is a secret."""
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "url")
        return f"Part({said})"

    @property
    def span(self) -> Span:
        """The bytes of the object that this part covers."""
        return Span(self.offset, self.part_size)


class Specification(Wire, frozen=True):
    """An object and its parts. ``object_md5`` is hex or base64, None when unknown."""

    object_key: str
    object_id: str
    upload_id: str
    parts: list[Part]
    object_size: int
    object_md5: str | None = None

    def with_parts(self, parts: Iterable[Part]) -> Specification:
        """The same object with other parts."""
        return self.changed(parts=list(parts))


class Progress(Wire, frozen=True):
    """Answer of ``GET /upload/{id}/status``. A part is finished when its ``source_md5`` is set."""

    object_id: str
    upload_id: str
    parts: list[Part]


class Listed(Wire, frozen=True):
    """An object in the answer of ``GET /listing``; ``last_modified`` in milliseconds since 1970."""

    id: str
    last_modified: int
    size: int


class Entity(Wire, frozen=True):
    """What Song says of one file: ``gnos_id`` is the analysis, ``project_code`` the study. Section 6."""

    id: str
    gnos_id: str
    file_name: str = ""
    project_code: str = ""
    access: str | None = None


class EntityPage(Wire, frozen=True):
    """One page of ``GET /entities``."""

    content: list[Entity]
    last: bool = True


class FinishedPart(Wire, frozen=True):
    """The record of a finished part, kept in the key of an empty object of the state bucket. Section 4."""

    part_number: int
    md5: str
    etag: str


def to_json(document: Wire | list[Listed]) -> bytes:
    """The document as it travels and as it is stored: compact JSON in UTF-8, names in the protocol's spelling.

    The reference leaves out a ``sourceMd5`` that is null, of all fields. Within a text the quotes would be escaped.
    """
    return msgspec.json.encode(document).replace(b',"sourceMd5":null', b"")


def from_json(kind: type[T], text: bytes | str) -> T:
    """The document in ``text``. Raises ValueError where there is none of that kind."""
    reader = _readers.get(kind)
    if reader is None:
        with _making:
            reader = _readers.setdefault(kind, msgspec.json.Decoder(kind))
    try:
        document: T = reader.decode(text)
    except RecursionError:
        raise ValueError("The document is nested too deeply.") from None
    return document


# msgspec 0.22 learns a class at its first use, and a second thread that uses it meanwhile ends the process with a
# segmentation fault. So one thread at a time learns.
_readers: dict[object, msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()
