"""Manifests: which objects to move. Protocol, section 5: tab separated, UTF-8, one header line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score.errors import Invalid
from score.protocol.digests import is_md5
from score.protocol.ids import is_uuid
from score.transfer.files import translate
from score.transfer.http import Http, answer_text, place, service_error

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
LARGEST = 256 * 1024 * 1024
"""Bytes; a longer file is something else, named by mistake."""


@dataclass(frozen=True, slots=True)
class UploadEntry:
    """A line of an upload manifest; ``path`` is where the file was found."""

    object_id: str
    path: Path
    md5: str


@dataclass(frozen=True, slots=True)
class UploadManifest:
    """The files of an analysis, to be uploaded."""

    analysis_id: str
    entries: tuple[UploadEntry, ...]

    def text(self) -> str:
        """The manifest as it stands in a file."""
        lines = [f"{self.analysis_id}\t\t", *(f"{e.object_id}\t{e.path}\t{e.md5}" for e in self.entries)]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a manifest and where it comes from; ``folder`` is what relative paths are relative to."""

    text: str
    name: str
    folder: Path


def fetch(spec: str, portal_url: str, http: Http) -> Source:
    """Read a manifest: a path, an ``http(s)`` URL, or a UUID, which stands for a manifest of the portal.

    Raises NotFound, Invalid (a folder, no text, a UUID without ``portal.url``), and what the portal answers.
    """
    if is_uuid(spec):
        if not portal_url:
            raise Invalid(
                f"Manifest {spec} is kept by a portal, but no portal is known.",
                hint="Set portal.url in the settings.",
            )
        spec = f"{portal_url}/api/v1/manifests/{spec}"
    if spec.startswith(("http://", "https://")):
        response = http.request("GET", spec)
        if response.status >= 300:
            raise service_error(response.status, answer_text(response)[:200], f"GET {place(spec)}")
        return Source(_decode(response.data, place(spec)), place(spec), Path())
    path = Path(spec)
    try:
        if path.is_dir():
            raise Invalid(f"{path} is a folder, not a manifest.", hint="Name the manifest file in it.")
        if path.stat().st_size > LARGEST:
            raise Invalid(
                f"{path} is too large for a manifest.", hint="To upload one file: --object-id, --file, --md5."
            )
        return Source(_decode(path.read_bytes(), str(path)), str(path), path.parent)
    except OSError as error:
        raise translate(error, path) from error


def _decode(data: bytes, name: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid(f"{name} is no manifest: it is not UTF-8 text.") from None
    if text.lstrip().startswith("<"):
        raise Invalid(
            f"{name} is XML or HTML, not a manifest.",
            hint="Old XML manifests are not supported, and an HTML page is what a portal answers to a wrong address.",
        )
    return text


def parse_upload(source: Source) -> UploadManifest:
    """An upload manifest. Raises Invalid, naming every line that is wrong."""
    rows = _rows(source)
    first, header = rows[0]
    analysis = header[0]
    problems: list[str] = []
    if len(header) > 1 and is_uuid(header[0]) and any(header[1:]):
        problems.append(f"line {first} is a file already: the line with the analysis id before the files is missing")
    entries: list[UploadEntry] = []
    seen: dict[str, int] = {}
    for number, cells in rows[1:]:
        where = f"line {number}"
        if len(cells) < 3 or not all(cells[:3]):
            problems.append(f"{where}: three columns are needed (object id, path, md5), {len(cells)} are there")
        elif not is_uuid(cells[0]):
            problems.append(f"{where}: {cells[0][:60]!r} is not an object id")
        elif not is_md5(cells[2]):
            problems.append(f"{where}: {cells[2][:60]!r} is not an MD5 checksum")
        elif not cells[1].isprintable():
            problems.append(f"{where}: {cells[1][:60]!r} cannot be the name of a file")
        elif cells[0] in seen:
            problems.append(f"{where}: object {cells[0]} is already in line {seen[cells[0]]}")
        else:
            seen[cells[0]] = number
            entries.append(UploadEntry(cells[0], _locate(source, Path(cells[1])), cells[2].lower()))
    _complain(source, problems)
    if not entries:
        raise Invalid(f"{source.name} names no file.", hint="An upload manifest has a line for each file.")
    return UploadManifest(analysis, tuple(entries))


def _locate(source: Source, path: Path) -> Path:
    """The file of a line: as it stands, as for the reference's client; else relative to the manifest's folder."""
    return path if path.is_absolute() or path.exists() else source.folder / path


def parse_download(source: Source, *, indexes: bool = False) -> tuple[str, ...]:
    """The object ids of a download manifest, each once; with ``indexes`` those of column ``index_object_id`` too.

    Raises Invalid, naming every line that is wrong.
    """
    rows = _rows(source)
    header = [cell.lower() for cell in rows[0][1]]
    if "object_id" not in header:
        raise Invalid(
            f"{source.name} is no download manifest: its first line has no column object_id.",
            hint=f"The columns are {', '.join(DOWNLOAD_HEADER)}.",
        )
    column = header.index("object_id")
    other = header.index("index_object_id") if indexes and "index_object_id" in header else None
    problems: list[str] = []
    found: dict[str, None] = {}
    for number, cells in rows[1:]:
        object_id = cells[column] if column < len(cells) else ""
        if not is_uuid(object_id):
            problems.append(f"line {number}: {object_id[:60]!r} is not an object id")
        else:
            found[object_id] = None
            if other is not None and other < len(cells) and is_uuid(cells[other]):
                found[cells[other]] = None
    _complain(source, problems)
    if not found:
        raise Invalid(f"{source.name} names no object.")
    return tuple(found)


def _rows(source: Source) -> list[tuple[int, list[str]]]:
    """The lines that are not blank, with their numbers, cut at tabs; the first is the header."""
    rows = [
        (number, [cell.strip() for cell in line.split("\t")])
        for number, line in enumerate(source.text.splitlines(), 1)
        if line.strip()
    ]
    if not rows:
        raise Invalid(f"{source.name} is empty.")
    return rows


def _complain(source: Source, problems: list[str]) -> None:
    if problems:
        shown = "; ".join(problems[:5])
        more = f"; and {len(problems) - 5} more lines" if len(problems) > 5 else ""
        raise Invalid(f"{source.name} is no usable manifest: {shown}{more}.", hint="Columns are separated by tabs.")
