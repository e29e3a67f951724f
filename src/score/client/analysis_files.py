"""Finding the files of an analysis in a folder, so that they can be uploaded without a manifest."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn
from unicodedata import normalize

from score.client.manifests import UploadEntry
from score.client.records import Record
from score.errors import Invalid, NotFound, Refused
from score.protocol.ids import is_uuid
from score.transfer.files import translate

SHOWN = 20
"""Files that are named in an error; of the others only the number is told."""


def require_files(records: Sequence[Record], analysis: str) -> Sequence[Record]:
    """The records of an analysis. Raises NotFound where there are none, Refused where they make no sense."""
    if not all(is_uuid(record.object_id) and record.name for record in records):
        raise Refused(
            f"Analysis {analysis}: the metadata service's record of a file makes no sense.",
            hint="Tell the operator of the metadata service.",
        )
    if not records:
        raise NotFound(f"Analysis {analysis} has no files.", hint="Check the id of the analysis.")
    return records


def find(wanted: Sequence[Record], folder: Path) -> list[UploadEntry]:
    """The files of an analysis in a folder and in those below it, by name and, of several, by size.

    An MD5 that is not registered stays empty. Raises NotFound where a file is missing, Invalid where it has another
    size or where there are several; all of them are named at once, before anything is sent.
    """
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
