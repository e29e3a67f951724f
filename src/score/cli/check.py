"""``check``."""

from __future__ import annotations

from pathlib import Path

import click

from score.cli import exits, options
from score.cli.output import write


@click.command()
@click.option(
    "--output-dir",
    type=options.Place(path_type=Path),
    default=".",
    show_default="the working folder",
    metavar="DIR",
    help="Folder whose disk is tried out.",
)
@options.as_json
@click.pass_context
def check(ctx: click.Context, output_dir: Path) -> int:
    """Try out addresses, token, clock, store and disk, and say what to mend."""
    from score.cli.session import session
    from score.client.check import Check

    status = exits.OK
    with session(ctx, live=False) as run:
        for finding in Check(run.client, output_dir).run():
            if ctx.obj["json"]:
                run.records.write(
                    "check", name=finding.name, ok=finding.error is None, text=finding.text, remedy=finding.remedy
                )
            else:
                write(str(finding))
            if finding.error is not None:
                status = status or exits.of_error(finding.error)
        return run.end(status)
