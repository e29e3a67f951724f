"""``manifest``."""

from __future__ import annotations

import click

from score.cli import options
from score.cli.output import write


@click.command()
@options.manifest("files or objects", required=True)
@options.as_json
@click.pass_context
def manifest(ctx: click.Context, manifest: str) -> int:
    """Fetch a manifest, print it, and check it."""
    import os

    from score.cli import inputs
    from score.cli.progress import total
    from score.cli.session import session
    from score.cli.tally import size as in_units
    from score.client.manifests import UploadManifest, parse

    with session(ctx, server=False, live=False) as run:
        source = inputs.source(run, manifest)
        if not ctx.obj["json"]:
            for line in source.lines():
                write(line, end="")
        found = parse(source)
        if isinstance(found, UploadManifest):
            missing, first = 0, None
            for entry in found.entries:
                if not os.path.isfile(entry.path):
                    missing, first = missing + 1, first or entry.path
            run.screen.line(
                f"An upload manifest of analysis {found.analysis_id}: {len(found.entries)} files"
                + (f", of which {missing} are not there ({first} …)." if missing else ".")
            )
            for entry in found.entries if ctx.obj["json"] else ():
                run.records.write(
                    "file",
                    analysis_id=found.analysis_id,
                    object_id=entry.object_id,
                    path=str(entry.path),
                    md5=entry.md5,
                )
        else:
            known = total(size for _, size in found.objects)
            run.screen.line(
                f"A download manifest: {len(found.objects)} objects" + (f", {in_units(known)}." if known else ".")
            )
            for object_id, bytes_of_it in found.objects if ctx.obj["json"] else ():
                run.records.write("object", object_id=object_id, bytes=bytes_of_it)
        return run.end()
