"""What a command is to work on: objects and files, from options, manifests, analyses, standard input."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from score.cli.session import Session
from score.client import analysis_files, manifests
from score.client.manifest_source import STDIN, Source, fetch, read_stdin
from score.client.manifests import DownloadManifest, UploadEntry, UploadManifest
from score.client.shards import share
from score.errors import Invalid, NotFound
from score.protocol.ids import check_object_id, is_uuid

Shard = tuple[int, int] | None
Sized = list[tuple[str, int | None]]


def source(run: Session, manifest: str) -> Source:
    """A manifest. Raises what :func:`score.client.manifest_source.fetch` does."""
    return fetch(manifest, run.client.settings.portal_url, run.client.http, run.client.engine.persist)


def read_ids(ids: Sequence[str]) -> Iterator[str]:
    """Object ids, those of standard input in the place of ``-``, also with commas between them, as the reference's
    client takes them. Raises Invalid for what is none, and where there are none on standard input."""
    for object_id in (one for given in ids for one in given.strip(",").split(",")):
        if object_id != STDIN:
            yield check_object_id(object_id)
            continue
        lines = read_stdin().decode("utf-8-sig", "replace").splitlines()
        words = [word for line in lines for word in line.partition("#")[0].split()]
        if not words:
            raise Invalid("Standard input holds no object ids.", hint="Give one a line.")
        for word in words:
            if not is_uuid(word):
                raise Invalid(f"Standard input: {word[:60]!r} is not an object id.", hint="Give one a line.")
            yield word


def objects(
    run: Session, manifest: str | None, ids: Sequence[str], analysis: str | None, study: str | None, shard: Shard
) -> Sized:
    """The objects that are named, each once, with their sizes as far as they are told; those of an analysis are asked
    for only where it is shared out."""
    if manifest is not None:
        found = manifests.parse(source(run, manifest))
        if isinstance(found, UploadManifest):
            return [(entry.object_id, None) for entry in found.entries]
        return list(found.sizes.items())
    if analysis is not None and study is not None:
        found_ids = run.client.analysis(study, analysis)
        if shard is None:
            return [(object_id, None) for object_id in found_ids]
        records = run.client.engine.persist(
            lambda: run.client.song.files(study, analysis), f"{analysis}: asking the metadata service"
        )
        return [(file.object_id, file.size) for file in analysis_files.read_records(records, analysis)]
    return [(object_id, None) for object_id in dict.fromkeys(read_ids(ids))]


def download_objects(
    run: Session, manifest: str | None, ids: Sequence[str], analysis: str | None, study: str | None, shard: Shard
) -> Sized:
    """As :func:`objects`, of a download manifest only. Raises Invalid for another one."""
    if manifest is not None:
        found: DownloadManifest = manifests.parse_download(source(run, manifest))
        return list(found.sizes.items())
    return objects(run, manifest, ids, analysis, study, shard)


def shard_objects(found: Sized, shard: Shard) -> Sized:
    """The share of this task."""
    return found if shard is None else share(((one, one[0], one[1]) for one in found), *shard)


def left_to_others(found: Sized, mine: Sized) -> Collection[str]:
    """The ids of the objects that other tasks deal with."""
    if len(found) == len(mine):
        return ()
    return {object_id for object_id, _ in found} - {object_id for object_id, _ in mine}


def shard_files(found: Sequence[UploadEntry], shard: Shard) -> Sequence[UploadEntry]:
    """The share of this task; sizes are those of the files, a missing one counts as empty."""
    if shard is None:
        return found
    return share(((entry, entry.object_id, size_of(entry.path) or 0) for entry in found), *shard)


def size_of(path: Path) -> int | None:
    """Bytes of a file, None where there is none."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None


def analysis_entries(run: Session, study: str, analysis: str, folder: Path) -> list[UploadEntry]:
    """The files of an analysis in a folder. Raises NotFound and Invalid, naming all that are missing or ambiguous."""
    try:
        records = run.client.engine.persist(
            lambda: run.client.song.files(study, analysis), f"{analysis}: asking the metadata service"
        )
    except NotFound as error:
        raise NotFound(
            f"Study {study} has no analysis {analysis} ({error.message})",
            hint="Check --study-id and --analysis-id, and that METADATA_URL is the right metadata service.",
        ) from error
    return analysis_files.find(analysis_files.read_records(records, analysis), folder)
