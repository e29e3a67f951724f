"""Manifests: which objects to move. Protocol, section 5: tab separated, UTF-8, one header line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unicodedata import category

from score.client.manifest_source import Source
from score.client.packed import Counted, Known, Packed
from score.client.shards import packed_sizes
from score.errors import Invalid
from score.protocol.digests import is_md5
from score.protocol.ids import is_uuid

DOWNLOAD_HEADER = (
    "repo_code",
    "file_id",
    "object_id",
    "file_format",
    "file_name",
    "file_size",
    "md5_sum",
    "index_object_id",
    "donor_id/donor_count",
    "project_id/project_count",
    "study",
)
SHOWN = 5
"""Wrong lines that are named; of the others only the number is told."""
_NUMBER = 4
"""Bytes for the number of a line: their text has at most 2 GiB."""


@dataclass(frozen=True, slots=True, init=False)
class UploadEntry:
    """A line of an upload manifest; ``path`` is where the file was found. Made small: there may be a million."""

    object_id: str
    _path: str
    md5: str

    def __init__(self, object_id: str, path: Path | str, md5: str) -> None:
        object.__setattr__(self, "object_id", object_id)
        object.__setattr__(self, "_path", str(path))
        object.__setattr__(self, "md5", md5)

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._path)


@dataclass(frozen=True, slots=True)
class UploadManifest:
    """The files of an analysis, to be uploaded."""

    analysis_id: str
    entries: Counted[UploadEntry]

    def text(self) -> str:
        """The manifest as it stands in a file."""
        lines = [f"{self.analysis_id}\t\t", *(f"{e.object_id}\t{e.path}\t{e.md5}" for e in self.entries)]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class DownloadManifest:
    """The objects to be downloaded, each once, in their order, with their sizes in bytes; None where not told.
    ``indexes`` are the objects that it names as index files of others."""

    objects: Counted[tuple[str, int | None]]
    indexes: Counted[str] = ()

    @property
    def ids(self) -> Iterator[str]:
        """The object ids."""
        return (object_id for object_id, _ in self.objects)


class _Problems:
    """The lines that are wrong: the first ones in full, the others counted, so that a file that is something else
    altogether does not fill the memory."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._shown: list[str] = []
        self._count = 0

    def add(self, problem: str) -> None:
        self._count += 1
        if self._count <= SHOWN:
            self._shown.append(problem)

    def complain(self) -> None:
        """Raises Invalid, naming what is wrong, where anything is."""
        if self._count:
            more = f"; and {self._count - SHOWN} more lines" if self._count > SHOWN else ""
            raise Invalid(
                f"{self._source.name} is no usable manifest: {'; '.join(self._shown)}{more}.",
                hint="Columns are separated by tabs.",
            )


def parse_upload(source: Source) -> UploadManifest:
    """An upload manifest. Raises Invalid, naming every line that is wrong."""
    rows = _rows(source)
    first, header = next(rows)
    if "object_id" in [cell.lower() for cell in header]:
        raise Invalid(
            f"{source.name} is a download manifest; an upload manifest is expected.",
            hint="Song makes one, or give --analysis-id, --study-id and --dir.",
        )
    problems = _Problems(source)
    if len(header) > 1 and is_uuid(header[0]) and any(header[1:]):
        problems.add(f"line {first} is a file already: the line with the analysis id before the files is missing")
    entries = packed_entries()
    known = Known(_NUMBER)
    for number, cells in rows:
        where = f"line {number}"
        if len(cells) > 2 and _names_analysis(cells):
            problems.add(f"{where}: another manifest begins here; upload one after the other")
        elif len(cells) < 3 or not all(cells[:3]):
            there = sum(map(bool, cells[:3]))
            problems.add(f"{where}: three columns are needed (object id, path, md5), {there} are there")
        elif not is_uuid(cells[0]):
            problems.add(f"{where}: {cells[0][:60]!r} is not an object id")
        elif not is_md5(cells[2]):
            problems.add(f"{where}: {cells[2][:60]!r} is not an MD5 checksum")
        elif _has_control_characters(cells[1]):
            problems.add(f"{where}: {cells[1][:60]!r} cannot be the name of a file")
        elif (before := known.add(cells[0], number.to_bytes(_NUMBER, "big"))) is not None:
            problems.add(f"{where}: object {cells[0]} is already in line {int.from_bytes(before, 'big')}")
        else:
            entries.append(UploadEntry(cells[0], _locate(source, cells[1]), cells[2].lower()))
    problems.complain()
    if not entries:
        raise Invalid(f"{source.name} names no file.", hint="An upload manifest has a line for each file.")
    return UploadManifest(header[0], entries)


def packed_entries(entries: Iterable[UploadEntry] = ()) -> Packed[UploadEntry]:
    """Lines of upload manifests, in their order."""

    def read(line: str) -> UploadEntry:
        object_id, md5, path = line.split("\t", 2)
        return UploadEntry(object_id, path, md5)

    return Packed(lambda entry: f"{entry.object_id}\t{entry.md5}\t{entry._path}", read, entries)


def can_hold(path: Path) -> bool:
    """Whether a manifest can name a file at ``path``: text without control characters or blanks at its end."""
    text = str(path)
    return text == text.strip() and not any(category(character) in ("Cc", "Cs") for character in text)


def is_upload(source: Source) -> bool:
    """Whether a file begins as an upload manifest does, with the id of an analysis alone in its line."""
    try:
        _, header = next(_rows(source))
    except Invalid:
        return False
    return _names_analysis(header)


def _names_analysis(cells: list[str]) -> bool:
    """Whether a line is the first one of an upload manifest: the id of an analysis, alone."""
    return is_uuid(cells[0]) and not any(cells[1:])


def _has_control_characters(text: str) -> bool:
    """Whether a text holds what is no part of any name; blanks of every kind, and joiners, are parts of some."""
    return not text.isprintable() and any(category(character) == "Cc" for character in text)


def _locate(source: Source, path: str) -> str:
    """The file of a line: as it stands, as for the reference's client; else relative to the manifest's folder."""
    return path if os.path.isabs(path) or os.path.exists(path) else str(source.folder / path)


def parse_download(source: Source) -> DownloadManifest:
    """A download manifest. Raises Invalid, naming every line that is wrong."""
    rows = _rows(source)
    header = [cell.lower() for cell in next(rows)[1]]
    if "object_id" not in header and len(header) == len(DOWNLOAD_HEADER):
        header = list(DOWNLOAD_HEADER)  # the words of others: the reference's client goes by the places alone
    if "object_id" not in header:
        raise Invalid(
            f"{source.name} is no download manifest: its first line has no column object_id{_found(header)}.",
            hint=f"The columns are {', '.join(DOWNLOAD_HEADER)}.",
        )
    column = header.index("object_id")
    indexed = header.index("index_object_id") if "index_object_id" in header else len(header)
    sized = header.index("file_size") if "file_size" in header else len(header)
    problems = _Problems(source)
    objects, indexes = packed_sizes(()), Packed(str, str)
    known = Known()
    for number, cells in rows:
        object_id = cells[column] if column < len(cells) else ""
        if not is_uuid(object_id):
            problems.add(f"line {number}: {object_id[:60]!r} is not an object id")
            continue
        size = cells[sized] if sized < len(cells) else ""
        if indexed < len(cells) and is_uuid(cells[indexed]):
            indexes.append(cells[indexed])
        if known.add(object_id) is None:
            told = size.isascii() and size.isdigit() and len(size) < 17
            objects.append((object_id, int(size) if told else None))
    problems.complain()
    if not objects:
        raise Invalid(f"{source.name} names no object.", hint="A download manifest has a line for each object.")
    return DownloadManifest(objects, indexes)


def parse(source: Source) -> UploadManifest | DownloadManifest:
    """A manifest of either kind, by its first line. Raises Invalid."""
    _, header = next(_rows(source))
    return parse_upload(source) if len(header) < 4 and is_uuid(header[0]) else parse_download(source)


def _found(header: list[str]) -> str:
    """What stands there instead, for whoever took the manifest of another program."""
    if _names_analysis(header):
        return "; it seems to be an upload manifest"
    return f", but {', '.join(cell[:30] for cell in header[:4])}" if len(header) > 1 else ""


def _rows(source: Source) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, with their numbers, cut at tabs; the first is the header. Raises Invalid."""
    empty = True
    for number, line in enumerate(source.lines(), 1):
        if not (text := line.strip()):
            continue
        if empty and text[0] == "<":
            raise Invalid(
                f"{source.name} is XML or HTML, not a manifest.",
                hint="XML manifests of old are not read; an HTML page is what a portal answers to a wrong address.",
            )
        if empty and text[0] in "{[":
            raise Invalid(f"{source.name} is JSON, not a manifest.", hint="Columns are separated by tabs.")
        empty = False
        yield number, [cell.strip() for cell in line.split("\t")]
    if empty:
        raise Invalid(f"{source.name} is empty.", hint="Check where it comes from.")
