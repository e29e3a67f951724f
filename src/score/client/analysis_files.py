"""Finding the files of an analysis in a folder, so that they can be uploaded without a manifest."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from unicodedata import normalize

from score.client.manifests import UploadEntry
from score.errors import Invalid, NotFound, Refused
from score.protocol.digests import to_hex
from score.protocol.ids import is_uuid
from score.transfer.files import translate

SHOWN = 20
"""Files that are named in an error; of the others only the number is told."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A file as it is registered; ``size`` in bytes and ``md5`` in hex, None where they are not told."""

    object_id: str
    name: str
    size: int | None
    md5: str | None


def read_records(records: Iterable[dict[str, Any]], analysis: str) -> list[Registered]:
    """The files of Song's records. Raises NotFound where there are none, Refused where they make no sense."""
    found = []
    for record in records:
        object_id, name, size = record.get("objectId"), record.get("fileName"), record.get("fileSize")
        if not isinstance(object_id, str) or not is_uuid(object_id) or not isinstance(name, str) or not name:
            raise Refused(
                f"Analysis {analysis}: the metadata service's record of a file makes no sense.",
                hint="Tell the operator of the metadata service.",
            )
        md5 = to_hex(str(record.get("fileMd5sum") or ""))
        found.append(Registered(object_id, name, size if isinstance(size, int) else None, md5))
    if not found:
        raise NotFound(f"Analysis {analysis} has no files.", hint="Check the id of the analysis.")
    return found


def find(files: Iterable[Registered], folder: Path) -> list[UploadEntry]:
    """The files of an analysis in a folder and in those below it, by name and, of several, by size.

    An MD5 that is not registered stays empty. Raises NotFound where a file is missing, Invalid where it has another
    size or where there are several; all of them are named at once, before anything is sent.
    """
    wanted = list(files)
    names = {_plain(file.name) for file in wanted}
    places: dict[str, list[Path]] = {}
    for path in _walk(folder):
        if (name := _plain(path.name)) in names:
            places.setdefault(name, []).append(path)
    entries: list[UploadEntry] = []
    missing: list[str] = []
    wrong: list[str] = []
    for file in wanted:
        candidates = places.get(_plain(file.name), [])
        fitting = [path for path in candidates if file.size is None or _size(path) == file.size]
        if len(fitting) == 1:
            entries.append(UploadEntry(file.object_id, fitting[0], file.md5 or ""))
        elif fitting:
            wrong.append(f"{file.name} is there {len(fitting)} times ({', '.join(map(str, fitting[:3]))})")
        elif candidates:
            wrong.append(f"{candidates[0]} has {_size(candidates[0]):,} bytes, but {file.size:,} are registered")
        else:
            missing.append(file.name)
    if wrong:
        also = f"; missing: {_shown(missing)}" if missing else ""
        raise Invalid(f"{folder}: {_shown(wrong, '; ')}{also}.", hint="Nothing was sent. Name another --dir.")
    if missing:
        raise NotFound(f"{folder} does not hold {_shown(missing)}.", hint="Nothing was sent. Name another --dir.")
    return entries


def _walk(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those below it; hidden folders are left out, links to folders not followed."""

    def fail(error: OSError) -> NoReturn:
        raise translate(error, error.filename or folder) from error

    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError as error:
        fail(error)
    if not is_folder:
        raise NotFound(f"{folder} is no folder.", hint="--dir names the folder that the files are in.")
    for place, below, names in os.walk(folder, onerror=fail):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names))


def _plain(name: str) -> str:
    """A name by which names are compared: some systems write letters with accents as two characters."""
    return normalize("NFC", name)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link that leads nowhere
        return -1


def _shown(names: list[str], between: str = ", ") -> str:
    more = f"{between}and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more
