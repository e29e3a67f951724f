"""Where a downloaded object lies. Protocol, section 5: ``--output-layout``."""

from __future__ import annotations

import threading
from enum import StrEnum
from pathlib import Path

from score.errors import Conflict, Invalid
from score.protocol.wire import Entity


class Layout(StrEnum):
    """How files are arranged in the output folder."""

    FILENAME = "filename"
    BUNDLE = "bundle"
    ID = "id"


def plain(name: str, what: str) -> str:
    """``name``, which must be the name of a file in a folder and nothing else. Raises Invalid."""
    if name in ("", ".", "..") or any(c in "/\\:" or ord(c) < 32 or ord(c) == 127 for c in name):
        raise Invalid(
            f"{what} {name!r} from the metadata service is not a plain file name; it could be written anywhere.",
            hint="Download this object with --output-layout id.",
        )
    return name


def place(out: Path, layout: Layout, entity: Entity) -> Path:
    """The file of an object; never outside ``out``. Raises Invalid for a name that is none."""
    match layout:
        case Layout.ID:
            return out / plain(entity.id, "Object id")
        case Layout.FILENAME:
            return out / plain(entity.file_name, "File name")
        case Layout.BUNDLE:
            return out / plain(entity.gnos_id, "Analysis id") / plain(entity.file_name, "File name")


class Claims:
    """Which object each file of a run belongs to, so that files of equal name never overwrite one another."""

    def __init__(self) -> None:
        self._owners: dict[Path, str] = {}
        self._lock = threading.Lock()

    def claim(self, path: Path, object_id: str) -> None:
        """Raises Conflict where the file is another object's."""
        with self._lock:
            owner = self._owners.setdefault(path, object_id)
        if owner != object_id:
            raise Conflict(
                f"{path} would be written by two objects, {owner} and {object_id}.",
                hint="Use --output-layout bundle, or id if they are of one analysis.",
            )
