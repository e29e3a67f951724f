"""What a transfer would do, found out by asking, without a byte that moves and without a trace on the disk."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from score.client.download import Download, Wanted
from score.client.entities import WIDTH, each_entity
from score.client.layout import Claims, Layout, place
from score.client.manifests import UploadEntry
from score.client.many import Many
from score.client.outcome import Outcome
from score.client.registered import Registered
from score.client.upload import Upload
from score.protocol.digests import check_md5
from score.protocol.ids import check_object_id
from score.protocol.wire import Entity

if TYPE_CHECKING:
    from score.client.client import Client


def rehearse_uploads(client: Client, entries: Iterable[UploadEntry], *, force: bool = False) -> Iterator[Outcome]:
    """What uploading these files would come to: ``would move``, ``already there``, or the error that is known now."""

    def one(entry: UploadEntry) -> list[Outcome]:
        check_object_id(entry.object_id)
        md5 = check_md5(entry.md5) if entry.md5 else ""
        registered, state = Registered(client.catalog, entry.object_id), client.settings.upload_state
        job = Upload(client.engine, client.score, registered, entry.object_id, entry.path, md5, force, state)
        return [job.rehearse()]

    def name(entry: UploadEntry) -> tuple[str, Path | None]:
        return entry.object_id, entry.path

    width, outage = WIDTH * client.settings.parallel, client.engine.outage
    many = Many(one, name, width, client.stop, client.engine.listener, outage=outage)
    for _, outcomes in many.run(entries):
        yield from outcomes


def rehearse_downloads(
    client: Client,
    object_ids: Iterable[str],
    out: Path,
    *,
    layout: Layout = Layout.FILENAME,
    index: bool = True,
    offset: int = 0,
    length: int = -1,
    force: bool = False,
    validate: bool = True,
    skip: Container[str] = (),
) -> Iterator[Outcome]:
    """What downloading these objects would come to. Without ``validate`` files that are there are known by size."""
    wanted, claims = Wanted(out, layout, index, offset, length, force, validate), Claims()

    def one(entity: Entity) -> Outcome:
        return Download(client.engine, client.score, entity, wanted, claims).rehearse()

    index = wanted.along
    return each_entity(client, object_ids, one, lambda entity: place(out, layout, entity), index=index, skip=skip)
