"""Registering a folder of files as an analysis of the embedded registry. Protocol, section 9."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import category

from score.client.manifests import UploadEntry, UploadManifest, can_hold
from score.errors import Cancelled, Conflict, Invalid, NotFound, Refused, ScoreError, Unavailable
from score.transfer.checking import checked_md5
from score.transfer.events import Ended, Planned
from score.transfer.files import Source, translate

if TYPE_CHECKING:
    from score.client.calls import Song
    from score.client.client import Client

_TYPES = {
    ".bam": "BAM",
    ".cram": "CRAM",
    ".vcf": "VCF",
    ".bai": "BAI",
    ".crai": "CRAI",
    ".tbi": "TBI",
    ".csi": "CSI",
    ".fastq": "FASTQ",
    ".fq": "FASTQ",
    ".fasta": "FASTA",
    ".fa": "FASTA",
}

_AGAIN = (
    "They may be registered all the same. Run the same command again later: it registers them as another analysis, "
    "and one to which nothing is uploaded does no harm."
)


@dataclass(frozen=True, slots=True)
class Registered:
    """An analysis that was submitted, and the manifest with which its files are uploaded."""

    analysis_id: str
    manifest: UploadManifest


def file_type(name: str) -> str:
    """The type of a file by its name; a compression on top of it does not count."""
    path = Path(name.lower())
    suffix = Path(path.stem).suffix if path.suffix in (".gz", ".bgz", ".bz2") else path.suffix
    return _TYPES.get(suffix, suffix.lstrip(".").upper() or "UNKNOWN")


def find_files(folder: Path, manifest: Path | None = None) -> list[Path]:
    """The files in a folder, not below it; hidden ones left out, and ``manifest``, which is going to be written.
    Raises NotFound, Invalid, Refused."""
    try:
        if folder.is_file():
            raise Invalid(f"{folder} is a file.", hint="Name the folder that it is in.")
        found = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        if manifest is not None and manifest.is_file():
            found = [path for path in found if not path.samefile(manifest)]
        places = [path.resolve() for path in found]
    except OSError as error:
        raise translate(error, error.filename or folder) from error
    if odd := [path.name for path in found if not _is_plain(path.name)]:
        raise Invalid(f"{folder} holds {odd[0]!r}, a name that no manifest can hold.", hint="Rename the file.")
    if lost := [place for place in places if not can_hold(place)]:
        raise Invalid(
            f"{folder}: a file of it is {str(lost[0])!r}, a path that no manifest can hold.",
            hint="Rename the folder, or give another path to it.",
        )
    if not found:
        raise NotFound(f"{folder} holds no files.", hint="Files in folders below it are not looked for.")
    return found


def _is_plain(name: str) -> bool:
    """Whether a manifest can hold the name, and nothing of it is hidden: a download would not write such a file."""
    return can_hold(Path(name)) and all(c.isprintable() or category(c) == "Zs" for c in name)


def register(
    client: Client,
    study: str,
    paths: Sequence[Path],
    access: str,
    hashed: Callable[[Path], None] = lambda path: None,
) -> Registered:
    """Submit files, as :func:`find_files` finds them, as one analysis of a study, which is made where it does not
    exist.

    ``hashed`` is called as the MD5 of each file is known; how far it is, the client's listener is told. Raises what
    hashing the files raises, Invalid where there can be no such study, and Refused where the metadata service's
    answer does not fit what was submitted. What goes wrong after they were submitted says so: to submit them again
    makes another analysis.
    """
    song, listener = client.song, client.engine.listener
    if study not in song.studies():  # a registry that is away or refuses is noticed before hours of hashing
        _make_study(song, study)

    def describe(path: Path) -> dict[str, object]:
        source = Source(path)
        listener(Planned(str(path), source.size, 1))
        md5 = checked_md5(client.engine, source)
        listener(Ended(str(path), "hashed"))
        hashed(path)
        return {
            "fileName": path.name,
            "fileSize": source.size,
            "fileMd5sum": md5,
            "fileAccess": access,
            "fileType": file_type(path.name),
            "dataType": file_type(path.name),
        }

    pool = ThreadPoolExecutor(max(1, min(client.settings.parallel, os.cpu_count() or 1)))
    try:
        files = list(pool.map(describe, paths))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    payload: dict[str, object] = {"studyId": study, "analysisType": {"name": "files"}, "files": files, "samples": []}
    try:
        analysis_id = song.submit(study, payload)
    except Unavailable as error:
        raise Unavailable(error.message, hint=_AGAIN) from error
    except KeyboardInterrupt:
        raise Cancelled("Interrupted while the files were being registered.", hint=_AGAIN) from None
    try:
        records = client.catalog.records(study, analysis_id)
    except (ScoreError, KeyboardInterrupt) as error:
        raise without_manifest(error, study, analysis_id, paths[0].parent) from error
    ids = {record.name: record.object_id for record in records}
    missing = [path.name for path in paths if path.name not in ids]
    if missing:
        raise Refused(
            f"Analysis {analysis_id} was registered without {', '.join(missing[:5])}.",
            hint="Tell the operator of the metadata service.",
        )
    entries = tuple(
        UploadEntry(ids[path.name], path.resolve(), str(file["fileMd5sum"]))
        for path, file in zip(paths, files, strict=True)
    )
    return Registered(analysis_id, UploadManifest(analysis_id, entries))


def without_manifest(error: ScoreError | KeyboardInterrupt, study: str, analysis_id: str, folder: Path) -> ScoreError:
    """What is told where the files of ``folder`` are registered, but ``error`` left no manifest of them."""
    told = error if isinstance(error, ScoreError) else Cancelled("Interrupted")
    words = ["score-client", "upload", "--study-id", study, "--analysis-id", analysis_id, "--dir", str(folder)]
    return type(told)(
        f"{told.message.rstrip('.')}; the files are registered as analysis {analysis_id}.",
        hint=f"{shlex.join(words)} needs no manifest.",
    )


def _make_study(song: Song, study: str) -> None:
    try:
        song.create_study(study)
    except Conflict as error:
        if study not in song.studies():  # nobody else was faster
            raise Invalid(error.message, hint="Check --study-id.") from error
