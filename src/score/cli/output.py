"""What a command says on standard output. No more than click is imported, so that help and completion are quick."""

from __future__ import annotations

import click


def write(text: str, *, end: str = "\n") -> None:
    """Write data for whoever asked for them. Raises NoSpace or Refused where they cannot be written, BrokenPipeError
    where nobody reads any more."""
    try:
        click.echo(f"{text}{end}", nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        from score.transfer.files import translate

        raise translate(error, "Standard output") from error
