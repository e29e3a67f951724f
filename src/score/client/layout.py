"""Where a downloaded object lies. Protocol, section 5: ``--output-layout``."""

from __future__ import annotations

import os
import re
import threading
from enum import StrEnum
from pathlib import Path
from unicodedata import category

from score.errors import Conflict, Invalid
from score.protocol.wire import Entity


class Layout(StrEnum):
    """How files are arranged in the output folder."""

    FILENAME = "filename"
    BUNDLE = "bundle"
    ID = "id"


_SEPARATORS = "/\\:"
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Kinds of characters that are not seen, turn the text around, or control a terminal."""
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|\Z)")


def plain(name: str, what: str, *, windows: bool = os.name == "nt") -> str:
    """``name``, which must be the name of a file in a folder and nothing else. Raises Invalid.

    ``windows``: also none of a device, and none that Windows would take for another one.
    """
    odd = windows and (_DEVICE.match(name) or name.endswith((".", " ")) or any(c in '<>"|?*' for c in name))
    if odd or name in ("", ".", "..") or any(c in _SEPARATORS or category(c) in _HIDDEN for c in name):
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
        self._owners: dict[str, str] = {}  # texts: a path takes several times as much
        self._lock = threading.Lock()

    def claim(self, path: Path, object_id: str) -> None:
        """Raises Conflict where the file is another object's."""
        with self._lock:
            owner = self._owners.setdefault(os.fspath(path), object_id)
        if owner != object_id:
            raise Conflict(
                f"{path} would be written by two objects, {owner} and {object_id}.",
                hint="Use --output-layout bundle, or id if they are of one analysis.",
            )
