"""What files are called in a mount, so that none hides another and none leaves its folder. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from score.client.layout import plain
from score.errors import Invalid
from score.mount.index import File

LONGEST = 255
"""Bytes of a name in a folder."""


def fits(name: str) -> bool:
    """Whether ``name`` can be that of a file in a folder."""
    try:
        plain(name, "", windows=False)
    except Invalid:
        return False
    return len(name.encode("utf-8", "surrogateescape")) <= LONGEST


def shown(file: File, *, alone: bool) -> str:
    """The name of a file in the folder of its analysis: its own; ``<object id>-<name>`` where it is not the only one
    of that name, and its object id where its name can be that of no file."""
    if not fits(file.name):
        return file.object_id
    if alone:
        return file.name
    name = f"{file.object_id}-{file.name}"
    return name if fits(name) else file.object_id


def folder(files: Iterable[File]) -> Iterator[tuple[str, File]]:
    """The files of one analysis by the names that are shown."""
    found = list(files)
    count = Counter(file.name for file in found)
    for file in found:
        yield shown(file, alone=count[file.name] == 1), file
