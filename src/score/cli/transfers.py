"""``upload``, ``download``, ``url``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from score.cli import options
from score.cli.output import write

if TYPE_CHECKING:
    from score.client.manifests import UploadEntry
    from score.client.packed import Counted


REHEARSED = "; nothing was moved"


@click.command()
@options.manifest("files")
@click.option("--object-id", type=options.NAME, metavar="ID", help="Object id of a single file, as registered.")
@click.option("--file", "file", type=options.Place(path_type=Path), metavar="FILE", help="The file to upload.")
@click.option("--md5", metavar="MD5", help="MD5 that the file must have; if not given, the registered one.")
@click.option(
    "--analysis-id",
    type=options.NAME,
    metavar="ID",
    help="All files of an analysis, found in --dir; needs --study-id.",
)
@click.option("--study-id", "--program-id", type=options.NAME, metavar="ID", help="Study of the analysis.")
@click.option(
    "--dir", "folder", type=options.Place(path_type=Path), metavar="DIR", help="Folder of the files of the analysis."
)
@click.option("--force", is_flag=True, help="Replace an object that exists, or an upload begun elsewhere.")
@options.dry_run
@options.shard
@options.state_dir
@options.verify_connection
@options.limits
@options.no_transfer
@options.told
@click.pass_context
def upload(
    ctx: click.Context,
    manifest: str | None,
    object_id: str | None,
    file: Path | None,
    md5: str | None,
    analysis_id: str | None,
    study_id: str | None,
    folder: Path | None,
    force: bool,
    dry_run: bool,
    shard: tuple[int, int] | None,
    verify_connection: bool,
) -> int:
    """Upload one file, or the files of a manifest or an analysis. Run it again to go on after an interruption."""
    analysis = (analysis_id, study_id, folder)
    single = (object_id, file)
    ways = [manifest is not None, single != (None, None), analysis != (None, None, None)]
    if ways.count(True) != 1:
        raise click.UsageError(
            "Give either --manifest, or --object-id and --file, or --analysis-id, --study-id and --dir."
        )
    if ways[1] and None in single:
        raise click.UsageError("--object-id and --file belong together.")
    if ways[2] and None in analysis:
        raise click.UsageError("--analysis-id, --study-id and --dir belong together.")
    if md5 is not None and not ways[1]:
        raise click.UsageError("--md5 belongs to --object-id and --file.")

    from score.cli import inputs
    from score.cli.session import session
    from score.client import manifests
    from score.client.manifests import UploadEntry
    from score.client.rehearsal import rehearse_uploads
    from score.protocol.ids import check_object_id

    with session(ctx) as run:
        entries: Counted[UploadEntry]
        if manifest is not None:
            entries = manifests.parse_upload(inputs.source(run, manifest)).entries
        elif object_id is not None and file is not None:
            entries = [UploadEntry(check_object_id(object_id), file, md5 or "")]
        else:
            assert study_id is not None
            assert analysis_id is not None
            assert folder is not None
            entries = inputs.analysis_entries(run, study_id, analysis_id, folder)
        entries = inputs.shard_files(entries, shard)
        run.client.connect(verify=verify_connection)
        run.screen.expect(len(entries), sum(inputs.size_of(entry.path) or 0 for entry in entries))
        send = partial(rehearse_uploads, run.client) if dry_run else run.client.upload_each
        return run.end(run.follow(send(entries, force=force), REHEARSED if dry_run else ""))


@click.command()
@click.option("--output-dir", required=True, type=options.Place(path_type=Path), metavar="DIR", help="Where to.")
@options.selection
@options.layout
@click.option("--offset", type=click.IntRange(0), default=0, help="First byte of the object to download.")
@click.option("--length", type=click.IntRange(-1), default=-1, help="Number of bytes; -1: to the end.")
@options.index
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option(
    "--validate", type=bool, default=True, show_default=True, metavar="BOOLEAN", help="Check the MD5 of every byte."
)
@options.dry_run
@options.shard
@options.verify_connection
@options.limits
@options.no_transfer
@options.told
@click.pass_context
def download(
    ctx: click.Context,
    output_dir: Path,
    manifest: str | None,
    object_ids: tuple[str, ...],
    more_ids: tuple[str, ...],
    analysis_id: str | None,
    study_id: str | None,
    output_layout: str,
    offset: int,
    length: int,
    index: bool,
    force: bool,
    validate: bool,
    dry_run: bool,
    shard: tuple[int, int] | None,
    verify_connection: bool,
) -> int:
    """Download objects, verified. Run it again to go on after an interruption."""
    options.require_one_selection(manifest, object_ids, more_ids, analysis_id, study_id)
    if force and shard is not None and shard[1] > 1 and output_layout.lower() == "filename":
        raise click.UsageError(
            "Tasks of a job array do not see each other's file names, so that with --force one could overwrite the "
            "file of another. Add --output-layout bundle or id."
        )

    from score.cli import inputs
    from score.cli.progress import total
    from score.cli.session import session
    from score.client.layout import Layout
    from score.client.rehearsal import rehearse_downloads

    with session(ctx) as run:
        if analysis_id is not None:  # before the registry is asked, as the reference's client does it
            run.client.connect(verify=verify_connection)
        found = inputs.download_objects(run, manifest, [*object_ids, *more_ids], analysis_id, study_id, shard)
        mine = inputs.shard_objects(found, shard)
        if analysis_id is None:
            run.client.connect(verify=verify_connection)
        ranged = offset > 0 or length >= 0
        # Index files come along, and are not known yet; those of a whole analysis are all in it.
        complete = analysis_id is not None or not index or ranged
        run.screen.expect(
            len(mine) if complete else None, total(size for _, size in mine) if complete and not ranged else None
        )
        others = inputs.left_to_others(found, mine)
        fetch = partial(rehearse_downloads, run.client) if dry_run else run.client.download_each
        outcomes = fetch(
            (object_id for object_id, _ in mine),
            output_dir,
            layout=Layout(output_layout.lower()),
            index=index,
            offset=offset,
            length=length,
            force=force,
            validate=validate,
            skip=others,
        )
        return run.end(run.follow(outcomes, REHEARSED if dry_run else ""))


@click.command()
@click.option("--object-id", type=options.NAME, required=True, metavar="ID", help="Object id.")
@options.as_json
@click.pass_context
def url(ctx: click.Context, object_id: str) -> int:
    """Print a URL of an object for any HTTP client. Whoever has it can read the object while it lasts."""
    from score.cli.session import session
    from score.protocol.ids import check_object_id

    with session(ctx, live=False) as run:
        check_object_id(object_id)
        run.client.connect(verify=False)
        found = run.client.url(object_id)
        if ctx.obj["json"]:
            run.records.write("url", object_id=object_id, url=found)
        else:
            write(found)
        return run.end()
