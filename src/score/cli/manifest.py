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
    from score.cli.tally import size
    from score.client.manifests import UploadManifest, parse

    with session(ctx, server=False, live=False) as run:
        source = inputs.source(run, manifest)
        if not ctx.obj["json"]:
            for line in source.lines():
                write(line, end="")
        found = parse(source)
        if isinstance(found, UploadManifest):
            missing = [entry for entry in found.entries if not os.path.isfile(entry.path)]
            run.screen.line(
                f"An upload manifest of analysis {found.analysis_id}: {len(found.entries)} files"
                + (f", of which {len(missing)} are not there ({missing[0].path} …)." if missing else ".")
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
            known = total(found.sizes.values())
            run.screen.line(
                f"A download manifest: {len(found.sizes)} objects" + (f", {size(known)}." if known else ".")
            )
            for object_id, bytes_of_it in found.sizes.items() if ctx.obj["json"] else ():
                run.records.write("object", object_id=object_id, bytes=bytes_of_it)
        return run.end()
