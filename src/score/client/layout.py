"""Where a downloaded object lies. Protocol, section 5: ``--output-layout``."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from unicodedata import category, normalize
from uuid import UUID

from score.client.packed import Known
from score.errors import Conflict, Invalid
from score.protocol.ids import check_object_id, is_uuid
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

    ``windows``: also none of a device, and none that Windows would take for another one. Nor may it be that of the
    state of a transfer, which is removed when that ends: a point and an object id, and perhaps more. Nor one with
    characters that the encoding of the system's file names does not have.
    """
    if name[:1] == "." and is_uuid(name[1:37]):
        raise Invalid(
            f"{what} {name!r} from the metadata service is a name of a transfer's state; the file could be lost.",
            hint="Download this object with --output-layout id.",
        )
    odd = windows and (_DEVICE.match(name) or name.endswith((".", " ")) or any(c in '<>"|?*' for c in name))
    if odd or name in ("", ".", "..") or any(c in _SEPARATORS or category(c) in _HIDDEN for c in name):
        raise Invalid(
            f"{what} {name!r} from the metadata service is not a plain file name; it could be written anywhere.",
            hint="Download this object with --output-layout id.",
        )
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise Invalid(
            f"{what} {name!r} from the metadata service cannot be written in this locale"
            f" ({sys.getfilesystemencoding()}).",
            hint="Set LC_ALL=C.UTF-8, or download this object with --output-layout id.",
        ) from None
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


LONGEST = 255
"""Bytes of a name in a folder."""


def fits(name: str) -> bool:
    """Whether ``name`` can be that of a file in a folder."""
    try:
        plain(name, "", windows=False)
    except Invalid:
        return False
    return len(name.encode("utf-8", "surrogateescape")) <= LONGEST


def distinct(files: Iterable[tuple[str, str]]) -> list[str]:
    """Names for the files of one folder, given as object id and registered name, so that none hides another.

    A file has its own name; ``<object id>-<name>`` where it is not the only one of that name; its object id where its
    name can be that of no file.
    """
    given = list(files)
    count = Counter(name for _, name in given)
    longer = [
        (object_id, name if count[name] == 1 else f"{object_id}-{name}", fits(name)) for object_id, name in given
    ]
    return [name if good and fits(name) else object_id for object_id, name, good in longer]


def folds(folder: Path) -> bool:
    """Whether names in a folder are one that differ in case only, or in how an accent is written, as on the disks of
    macOS and Windows. It is tried out; false where nothing can be written."""
    with suppress(OSError), NamedTemporaryFile(prefix=".score-", suffix=".names", dir=folder) as file:
        return os.path.lexists(folder / Path(file.name).name.swapcase())
    return False


class Claims:
    """Which object each file of a run belongs to, so that files of equal name never overwrite one another; of names
    that are equal to the file system, where that is ``folding`` (:func:`folds`)."""

    def __init__(self, *, folding: bool = False) -> None:
        self._folding = folding
        self._owners = Known(16)
        self._lock = threading.Lock()

    def claim(self, path: Path, object_id: str) -> None:
        """Raises Conflict where the file is another object's, Invalid where the id is none."""
        asks = UUID(check_object_id(object_id))
        name = normalize("NFC", os.fspath(path)).casefold() if self._folding else os.fspath(path)
        with self._lock:
            owner = self._owners.add(name, asks.bytes) or asks.bytes
        if owner != asks.bytes:
            other = UUID(bytes=owner)
            raise Conflict(
                f"{path} would be written by two objects, {other} and {object_id}.",
                hint="Use --output-layout bundle, or id if they are of one analysis.",
            )
