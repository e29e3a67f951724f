"""``upload``, ``download``, ``url``."""

from __future__ import annotations

from pathlib import Path

import click

from score.cli import exits
from score.cli.session import session
from score.client import manifests
from score.client.layout import Layout
from score.client.manifests import UploadEntry
from score.client.outcome import Outcome

_connection = click.option(
    "--verify-connection",
    type=bool,
    default=True,
    show_default=True,
    metavar="BOOLEAN",
    help="First fetch a small object from the store, to see that it can be reached.",
)


@click.command()
@click.option(
    "--manifest", metavar="FILE", help="Manifest of the files: a path, a URL, or a UUID known to the portal."
)
@click.option("--object-id", metavar="ID", help="Object id of a single file, as registered.")
@click.option("--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="The file to upload.")
@click.option("--md5", metavar="MD5", help="MD5 that the file must have; computed first if not given.")
@click.option("--force", is_flag=True, help="Replace an object that exists, or an upload begun elsewhere.")
@_connection
@click.pass_context
def upload(
    ctx: click.Context,
    manifest: str | None,
    object_id: str | None,
    file: Path | None,
    md5: str | None,
    force: bool,
    verify_connection: bool,
) -> int:
    """Upload one file, or the files of a manifest. Run it again to go on after an interruption."""
    if (manifest is None) == (object_id is None and file is None):
        raise click.UsageError("Give either --manifest, or --object-id and --file.")
    if manifest is None and (object_id is None or file is None):
        raise click.UsageError("--object-id and --file belong together.")
    if manifest is not None and md5 is not None:
        raise click.UsageError("--md5 belongs to --object-id and --file; a manifest has its own.")
    with session(ctx) as (client, screen):
        if manifest is not None:
            source = manifests.fetch(manifest, client.settings.portal_url, client.http)
            entries = list(manifests.parse_upload(source).entries)
        else:
            assert object_id is not None
            assert file is not None
            entries = [UploadEntry(object_id, file, md5 or "")]
        client.connect(verify=verify_connection)
        screen.total = len(entries)
        outcomes = client.upload_all(entries, force=force)
        screen.conclude(outcomes)
    return exits.of_outcomes(outcomes)


@click.command()
@click.option("--output-dir", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where to.")
@click.option("--manifest", metavar="FILE", help="Manifest of the objects: a path, a URL, or a UUID of the portal.")
@click.option("--object-id", "object_ids", multiple=True, metavar="ID...", help="Object ids; several may follow.")
@click.argument("more_ids", nargs=-1, metavar="")
@click.option("--analysis-id", metavar="ID", help="All files of an analysis; needs --study-id.")
@click.option("--study-id", "--program-id", metavar="ID", help="Study of the analysis.")
@click.option(
    "--output-layout",
    type=click.Choice([layout.value for layout in Layout], case_sensitive=False),
    default=Layout.FILENAME.value,
    show_default=True,
    help="DIR/name, DIR/analysis/name, or DIR/object-id.",
)
@click.option("--offset", type=click.IntRange(0), default=0, help="First byte of the object to download.")
@click.option("--length", type=click.IntRange(-1), default=-1, help="Number of bytes; -1: to the end.")
@click.option(
    "--index", type=bool, default=True, show_default=True, metavar="BOOLEAN", help="Index files (.bai, .tbi …) too."
)
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option(
    "--validate", type=bool, default=True, show_default=True, metavar="BOOLEAN", help="Check the MD5 of every byte."
)
@_connection
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
    verify_connection: bool,
) -> int:
    """Download objects, verified. Run it again to go on after an interruption."""
    if (analysis_id is None) != (study_id is None):
        raise click.UsageError("--analysis-id and --study-id belong together.")
    if more_ids and not object_ids:
        raise click.UsageError(f"What is {more_ids[0]!r}? Object ids follow --object-id.")
    if [manifest is not None, bool(object_ids), analysis_id is not None].count(True) != 1:
        raise click.UsageError("Give one of --manifest, --object-id, or --analysis-id with --study-id.")
    with session(ctx) as (client, screen):
        ids = [*object_ids, *more_ids]
        if manifest is not None:
            source = manifests.fetch(manifest, client.settings.portal_url, client.http)
            ids = list(manifests.parse_download(source))
        client.connect(verify=verify_connection)
        if analysis_id is not None and study_id is not None:
            ids = client.analysis(study_id, analysis_id)
        partial = offset > 0 or length >= 0
        outcomes: list[Outcome] = client.download(
            ids,
            output_dir,
            layout=Layout(output_layout.lower()),
            index=index and not partial,
            offset=offset,
            length=length,
            force=force,
            validate=validate,
        )
        screen.conclude(outcomes)
    return exits.of_outcomes(outcomes)


@click.command()
@click.option("--object-id", required=True, metavar="ID", help="Object id.")
@click.pass_context
def url(ctx: click.Context, object_id: str) -> int:
    """Print a URL of an object for any HTTP client. Whoever has it can read the object while it lasts."""
    with session(ctx) as (client, _):
        client.connect(verify=False)
        click.echo(client.url(object_id))
    return exits.OK
