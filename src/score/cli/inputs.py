"""What a command is to work on: objects and files, from options, manifests, analyses, standard input."""

from __future__ import annotations

import io
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from score.cli.session import Session
from score.client import analysis_files, manifests
from score.client.manifest_source import STDIN, Source, fetch, read_stdin
from score.client.manifests import UploadEntry, UploadManifest, packed_entries
from score.client.packed import Counted, Known, packed_ids
from score.client.shards import packed_sizes, share
from score.errors import Invalid, NotFound
from score.protocol.ids import check_object_id, is_uuid

Shard = tuple[int, int] | None
Objects = Counted[tuple[str, int | None]]
"""Ids, each once, with sizes in bytes as far as they are known."""


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
        empty = True
        for line in io.TextIOWrapper(io.BytesIO(read_stdin()), "utf-8-sig", "replace"):
            for word in line.partition("#")[0].split():
                if not is_uuid(word):
                    raise Invalid(f"Standard input: {word[:60]!r} is not an object id.", hint="Give one a line.")
                empty = False
                yield word
        if empty:
            raise Invalid("Standard input holds no object ids.", hint="Give one a line.")


def objects(
    run: Session, manifest: str | None, ids: Sequence[str], analysis: str | None, study: str | None, shard: Shard
) -> Objects:
    """The objects that are named, each once, with their sizes as far as they are told; those of an analysis are asked
    for only where it is shared out."""
    if manifest is not None:
        found = manifests.parse(source(run, manifest))
        if isinstance(found, UploadManifest):
            return packed_sizes((entry.object_id, None) for entry in found.entries)
        return found.objects
    if analysis is not None and study is not None:
        found_ids = run.client.analysis(study, analysis)
        if shard is None:
            return [(object_id, None) for object_id in found_ids]
        files = analysis_files.require_files(run.client.catalog.records(study, analysis), analysis)
        return [(file.object_id, file.size) for file in files]
    return packed_sizes((object_id, None) for object_id in packed_ids(read_ids(ids)))


def download_objects(
    run: Session, manifest: str | None, ids: Sequence[str], analysis: str | None, study: str | None, shard: Shard
) -> Objects:
    """As :func:`objects`, of a download manifest only. Raises Invalid for another one."""
    if manifest is not None:
        return manifests.parse_download(source(run, manifest)).objects
    return objects(run, manifest, ids, analysis, study, shard)


def shard_objects(found: Objects, shard: Shard) -> Objects:
    """The share of this task."""
    if shard is None:
        return found
    mine = share(found, *shard)
    return packed_sizes(one for one in found if one[0] in mine)


def left_to_others(found: Objects, mine: Objects) -> Container[str]:
    """The ids of the objects that other tasks deal with."""
    others = Known()
    if len(found) != len(mine):
        for object_id, _ in found:
            others.add(object_id)
        for object_id, _ in mine:
            others.discard(object_id)
    return others


def shard_files(found: Counted[UploadEntry], shard: Shard) -> Counted[UploadEntry]:
    """The share of this task; sizes are those of the files, a missing one counts as empty."""
    if shard is None:
        return found
    mine = share(((entry.object_id, size_of(entry.path) or 0) for entry in found), *shard)
    return packed_entries(entry for entry in found if entry.object_id in mine)


def size_of(path: Path) -> int | None:
    """Bytes of a file, None where there is none."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None


def analysis_entries(run: Session, study: str, analysis: str, folder: Path) -> list[UploadEntry]:
    """The files of an analysis in a folder. Raises NotFound and Invalid, naming all that are missing or ambiguous."""
    try:
        records = run.client.catalog.records(study, analysis)
    except NotFound as error:
        raise NotFound(
            f"Study {study} has no analysis {analysis} ({error.message})",
            hint="Check --study-id and --analysis-id, and that METADATA_URL is the right metadata service.",
        ) from error
    return analysis_files.find(analysis_files.require_files(records, analysis), folder)
