"""The JSON documents of the protocol, section 3. Unknown fields are ignored by every reader."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from score.protocol.parts import Span

FEATURES = "Score-Features"
"""Header of the answer to ``GET /profile``: the names of calls that the reference's server does not have."""
SHORT_UPLOADS = "short-uploads"
"""``POST /upload/{id}/begin``, and ``complete=true`` of ``POST /upload/{id}/parts``."""


class Wire(BaseModel):
    """Base of the wire documents: camel-case names as they travel, immutable.

    Built when first used, for a client that uses few of them and starts often.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, defer_build=True)


class Part(Wire):
    """A byte range of an object and the pre-signed URL to PUT or GET it.

    ``md5`` is the checksum of the local copy (set by a client), ``source_md5`` the one recorded when the part
    was uploaded. ``part_size`` is -1 for the one part of an external specification.
    """

    part_number: int = Field(alias="partNumber")
    part_size: int = Field(alias="partSize")
    offset: int
    url: str | None = Field(default=None, repr=False)
    md5: str | None = None
    source_md5: str | None = Field(default=None, alias="sourceMd5")

    @property
    def span(self) -> Span:
        """The bytes of the object that this part covers."""
        return Span(self.offset, self.part_size)

    @model_serializer(mode="wrap")
    def _without_absent_source(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        document: dict[str, object] = dump(self)
        for name in ("sourceMd5", "source_md5"):
            if document.get(name, "") is None:
                del document[name]
        return document


class Specification(Wire):
    """An object and its parts. ``object_md5`` is hex or base64, None when unknown."""

    object_key: str = Field(alias="objectKey")
    object_id: str = Field(alias="objectId")
    upload_id: str = Field(alias="uploadId")
    parts: list[Part]
    object_size: int = Field(alias="objectSize")
    object_md5: str | None = Field(default=None, alias="objectMd5")

    def with_parts(self, parts: Iterable[Part]) -> Specification:
        """The same object with other parts."""
        return self.model_copy(update={"parts": list(parts)})


class Progress(Wire):
    """Answer of ``GET /upload/{id}/status``. A part is finished when its ``source_md5`` is set."""

    object_id: str = Field(alias="objectId")
    upload_id: str = Field(alias="uploadId")
    parts: list[Part]


class Listed(Wire):
    """An object in the answer of ``GET /listing``; ``last_modified`` in milliseconds since 1970."""

    id: str
    last_modified: int = Field(alias="lastModified")
    size: int


class Entity(Wire):
    """What Song says of one file: ``gnos_id`` is the analysis, ``project_code`` the study. Section 6."""

    id: str
    gnos_id: str = Field(alias="gnosId")
    file_name: str = Field(default="", alias="fileName")
    project_code: str = Field(default="", alias="projectCode")
    access: str | None = None


class EntityPage(Wire):
    """One page of ``GET /entities``; ``number`` counts from 0."""

    content: list[Entity]
    last: bool = True
    number: int = 0


class FinishedPart(Wire):
    """The record of a finished part, kept in the key of an empty object of the state bucket. Section 4."""

    part_number: int = Field(alias="partNumber")
    md5: str
    etag: str


def to_json(document: BaseModel) -> bytes:
    """The document as it travels and as it is stored: compact JSON in UTF-8, names in the protocol's spelling."""
    return document.model_dump_json(by_alias=True).encode()
