"""Registering a folder of files as an analysis of the embedded registry. Protocol, section 9."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from score.client.calls import Song
from score.client.manifests import UploadEntry, UploadManifest
from score.errors import Conflict, Invalid, NotFound, Refused
from score.transfer.files import md5_of_file, translate

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


def find_files(folder: Path) -> list[Path]:
    """The files in a folder, not below it; hidden ones left out. Raises NotFound, Invalid, Refused."""
    if folder.is_file():
        raise Invalid(f"{folder} is a file.", hint="Name the folder that it is in.")
    try:
        found = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    except OSError as error:
        raise translate(error, folder) from error
    if odd := [path.name for path in found if not path.name.isprintable()]:
        raise Invalid(f"{folder} holds {odd[0]!r}, a name that no manifest can hold.", hint="Rename the file.")
    if not found:
        raise NotFound(f"{folder} holds no files.", hint="Files in folders below it are not looked for.")
    return found


def register(
    song: Song,
    study: str,
    folder: Path,
    access: str,
    threads: int,
    hashed: Callable[[Path], None] = lambda path: None,
) -> Registered:
    """Submit the files of a folder as one analysis of a study, which is made where it does not exist.

    ``hashed`` is called as the MD5 of each file is known. Raises what finding and hashing the files raises, and
    Refused where the metadata service's answer does not fit what was submitted.
    """
    paths = find_files(folder)

    def describe(path: Path) -> dict[str, object]:
        md5 = md5_of_file(path)
        size = path.stat().st_size
        hashed(path)
        return {
            "fileName": path.name,
            "fileSize": size,
            "fileMd5sum": md5,
            "fileAccess": access,
            "fileType": file_type(path.name),
            "dataType": file_type(path.name),
        }

    pool = ThreadPoolExecutor(max(1, min(threads, os.cpu_count() or 1)))
    try:
        files = list(pool.map(describe, paths))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if study not in song.studies():
        with contextlib.suppress(Conflict):  # somebody else was faster
            song.create_study(study)
    payload: dict[str, object] = {"studyId": study, "analysisType": {"name": "files"}, "files": files, "samples": []}
    analysis_id = song.submit(study, payload)
    ids = {str(record.get("fileName")): str(record.get("objectId")) for record in song.files(study, analysis_id)}
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
