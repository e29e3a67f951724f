"""What every command that talks to a server begins with: settings, a client, a display."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from score.cli.progress import Screen, make
from score.client import settings as configuration
from score.client.client import Client


@contextmanager
def session(ctx: click.Context) -> Iterator[tuple[Client, Screen]]:
    """A client for the settings of this run, and the screen that shows what it does."""
    values = configuration.read(ctx.obj["settings"], os.environ, Path())
    shown = configuration.display(values)
    screen = make(shown, sys.stderr)
    for line in [*values.warnings, *map(str, values.unknown), *configuration.advice(values)]:
        screen.line(f"Warning: {line}")
    with Client(configuration.settings(values), listener=screen) as client, screen:
        yield client, screen
