"""``register`` and ``publish``: what the embedded registry needs to be usable from a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from score.cli import exits, options
from score.cli.output import write
from score.errors import ScoreError


@click.command()
@click.option("--study-id", type=options.NAME, required=True, metavar="ID", help="Study; made if it does not exist.")
@click.option(
    "--dir", "folder", required=True, type=options.Place(path_type=Path), metavar="DIR", help="Folder of the files."
)
@click.option(
    "--manifest", required=True, type=options.Place(path_type=Path), metavar="OUT", help="Upload manifest to write."
)
@click.option(
    "--access",
    type=click.Choice(["controlled", "open"]),
    default="controlled",
    show_default=True,
    help="Who may download the files once they are published, on a server with access control.",
)
@click.pass_context
def register(ctx: click.Context, study_id: str, folder: Path, manifest: Path, access: str) -> int:
    """Register the files of a folder as one analysis, and write the manifest to upload them with.

    Prints the id of the analysis.
    """
    from score.cli import inputs
    from score.cli.progress import total
    from score.cli.session import session
    from score.client.register import find_files, without_manifest
    from score.client.register import register as submit
    from score.transfer.files import translate

    with session(ctx) as run, _said_what_to_do():
        _require_writable(manifest)  # an analysis whose manifest cannot be written would be of no use
        paths = find_files(folder, manifest)
        run.screen.expect(len(paths), total(inputs.size_of(path) for path in paths))
        done = submit(run.client, study_id, paths, access, lambda path: run.screen.step(f"{path}: checksum known"))
        try:
            manifest.write_text(done.manifest.text(), "utf-8")
        except OSError as error:
            if manifest.is_file():  # no device
                manifest.unlink()  # an upload from a part of it would look complete
            raise without_manifest(translate(error, manifest), study_id, done.analysis_id, folder) from error
        count = len(done.manifest.entries)
        files = "1 file" if count == 1 else f"{count} files"
        following = f"score-client upload --manifest {shlex.quote(str(manifest))}"
        run.screen.line(f"{files} registered as analysis {done.analysis_id} of {study_id}.")
        run.screen.line(f"Next: {following}")
    try:
        write(done.analysis_id)  # when no display moves any more, for it may go to the same terminal
    except ScoreError as error:
        error.hint = f"Analysis {done.analysis_id} is registered: {following} goes on."
        raise
    return exits.OK


@contextmanager
def _said_what_to_do() -> Iterator[None]:
    """For calls that are made once: a registration whose answer got lost would be made twice."""
    from score.errors import Unavailable

    try:
        yield
    except Unavailable as error:
        error.hint = error.hint or "Run the same command again later; score-client check tells what is away."
        raise


def _require_writable(path: Path) -> None:
    """Raises where a manifest cannot be written there: Invalid where another file is, which is not overwritten."""
    from score.client.manifest_source import Source
    from score.client.manifests import is_upload
    from score.errors import Invalid
    from score.transfer.files import translated

    with translated(path):
        found = path.exists()
        there = Source(lambda: path.open("rb"), str(path), path.parent)
        if path.is_file() and path.stat().st_size and not is_upload(there):
            raise Invalid(f"--manifest: {path} is there already, and is no upload manifest.", hint="Name another.")
        path.open("ab").close()
        if not found:
            path.unlink()


@click.command()
@click.option("--study-id", type=options.NAME, required=True, metavar="ID", help="Study.")
@click.option("--analysis-id", type=options.NAME, required=True, metavar="ID", help="Analysis.")
@click.pass_context
def publish(ctx: click.Context, study_id: str, analysis_id: str) -> int:
    """Publish an analysis whose files are all uploaded, so that they can be downloaded."""
    from score.cli.session import session
    from score.client.publication import publish as make_public

    with session(ctx, live=False) as run:
        run.screen.line(make_public(run.client, study_id, analysis_id))
    return exits.OK
