"""``info`` and ``config``: with which settings this client works, and where each came from."""

from __future__ import annotations

import click

from score.cli import exits, options
from score.cli.output import write


@click.command()
@options.as_document
@click.pass_context
def config(ctx: click.Context) -> int:
    """Show all settings in force, and where each came from; secrets are masked."""
    from score.cli.session import read
    from score.client import settings

    shown = settings.shown(read(ctx))
    for line in [shown.document()] if ctx.obj["document"] else shown.lines():
        write(line)
    return exits.USAGE if shown.missing else exits.OK


@click.command()
@click.option("--verbose", is_flag=True, help="Every setting that was made, and where.")
@options.as_document
@click.pass_context
def info(ctx: click.Context, verbose: bool) -> int:
    """Show the profile, the addresses, and whether there is an access token."""
    from score.cli.session import read
    from score.client import settings
    from score.config.shown import Shown

    whole = settings.shown(read(ctx))
    by_name = {row.name: row for row in whole.rows}
    token = by_name["accessToken"] if by_name["accessToken"].value else by_name["accessTokenFile"]
    if ctx.obj["document"]:
        rows = [row for row in whole.rows if verbose or row.name in _SHORT]
        write(Shown(whole.profiles, rows, whole.warnings, whole.missing).document())
        return exits.OK
    where = f"set ({token.origin})" if token.value else "not set (accessToken, ACCESSTOKEN, --accessToken)"
    storage, metadata = by_name["storage.url"], by_name["metadata.url"]
    write(f"Profile:      {', '.join(whole.profiles)}")
    write(f"Storage URL:  {storage.value or 'not set (storage.url, STORAGE_URL, --storage.url)'}")
    write(f"Metadata URL: {metadata.value or 'not set (metadata.url, METADATA_URL, --metadata.url)'}")
    write(f"Access token: {where}")
    if verbose:
        write("\nSettings made:")
        for row in whole.rows:
            if row.origin not in ("default", "not set", "storage.url"):
                write(f"  {row.name}={row.value}  # {row.origin}")
    for warning in whole.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return exits.OK


_SHORT = ("storage.url", "metadata.url", "accessToken", "accessTokenFile")
