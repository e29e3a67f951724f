"""What the metadata service tells of files that are registered. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from score.protocol.digests import to_hex


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a file: ``size`` in bytes, ``md5`` in hex; ``modified``, in seconds since 1970, is when its
    analysis was published or last changed. None, and an empty ``name``, where that is not told."""

    object_id: str
    size: int | None = None
    md5: str | None = None
    name: str = ""
    modified: float | None = None


def read(file: dict[str, Any], modified: float | None = None) -> Record:
    """Song's record of a file."""
    object_id, size, md5, name = (file.get(key) for key in ("objectId", "fileSize", "fileMd5sum", "fileName"))
    known = size if type(size) is int else None
    return Record(str(object_id or ""), known, to_hex(str(md5 or "")), str(name or ""), modified)


def records(document: dict[str, Any]) -> list[Record]:
    """The files in the document of an analysis, those left out of which it tells no size."""
    times = (_seconds(document.get(name)) for name in ("publishedAt", "updatedAt", "createdAt"))
    modified = next((found for found in times if found is not None), None)
    files = document.get("files")
    found = [read(file, modified) for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    return [record for record in found if record.object_id and record.size is not None]


def _seconds(text: object) -> float | None:
    """A time of the metadata service, which are in UTC whether they say so or not."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
