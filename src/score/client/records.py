"""What the metadata service tells of the files of an analysis in one document. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from score.protocol.digests import is_md5


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a file: ``size`` in bytes; ``modified``, in seconds since 1970, is when its analysis was
    published or last changed; ``md5`` is hex. None where that is not told."""

    object_id: str
    size: int
    modified: float | None = None
    md5: str | None = None


def records(document: dict[str, Any]) -> list[Record]:
    """The files in the document of an analysis, those left out of which it tells no size."""
    times = (_seconds(document.get(name)) for name in ("publishedAt", "updatedAt", "createdAt"))
    modified = next((found for found in times if found is not None), None)
    files = document.get("files")
    found = []
    for file in files if isinstance(files, list) else ():
        if isinstance(file, dict) and type(file.get("fileSize")) is int and file.get("objectId"):
            md5 = str(file.get("fileMd5sum", ""))
            record = Record(str(file["objectId"]), file["fileSize"], modified, md5.lower() if is_md5(md5) else None)
            found.append(record)
    return found


def _seconds(text: object) -> float | None:
    """A time of the metadata service, which are in UTC whether they say so or not."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
