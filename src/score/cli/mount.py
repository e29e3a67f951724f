"""``mount``: objects as files of the system."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import click
import platformdirs

from score.cli import exits
from score.cli import options as given
from score.cli.daemon import daemonize as to_background
from score.cli.progress import Screen
from score.cli.session import read
from score.cli.tally import duration, size
from score.client import manifests
from score.client import settings as configuration
from score.client.client import Client
from score.client.handles import Handles
from score.client.manifest_source import fetch
from score.errors import ScoreError
from score.transfer.files import translated

if TYPE_CHECKING:
    from score.mount.index import Index
    from score.mount.tree import Tally
    from score.reading.shared import Tally as Fetched

LAYOUTS = ("bundle", "object-id")


class LayoutName(click.Choice[str]):
    """A layout, in capitals or with an underscore too, as the reference's client takes it."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """The form by which names are compared."""
        return super().normalize_choice(choice, ctx).replace("_", "-")


class Log(Screen):
    """Lines with the time, for a file."""

    def _print(self, text: str) -> None:
        super()._print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z} {text}")


@click.command()
@click.option(
    "--mount-point", required=True, type=given.Place(path_type=Path), metavar="DIR", help="Empty folder to mount on."
)
@click.option(
    "--manifest",
    type=given.NAME,
    metavar="FILE",
    help="Only the objects of this manifest, and their index files: a path, a URL, or a UUID of the portal.",
)
@click.option(
    "--layout",
    type=LayoutName(LAYOUTS, case_sensitive=False),
    default="bundle",
    show_default=True,
    help="DIR/analysis/name, or DIR/object-id.",
)
@click.option("--cache-metadata", is_flag=True, help="Keep the list of files and their sizes for the next mount.")
@click.option(
    "--daemonize", is_flag=True, help="Go on in the background; the prompt is back when the mount is ready."
)
@click.option(
    "--options",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="Options of FUSE, such as allow_other; and nonempty, to mount over files.",
)
@given.verify_connection
@click.pass_context
def mount(
    ctx: click.Context,
    mount_point: Path,
    manifest: str | None,
    layout: str,
    cache_metadata: bool,
    daemonize: bool,
    options: tuple[str, ...],
    verify_connection: bool,
) -> int:
    """Show objects as files of a folder, without downloading them. Read-only.

    Ends when it is unmounted (fusermount3 -u DIR), or by Ctrl-C.
    """
    from score.mount import fuse
    from score.mount.repository import Repository
    from score.mount.tree import BLOCK, Layout, Tree

    chosen = fuse.parse_options(options)
    fuse.check_device()
    fuse.load()
    values = read(ctx)
    shown = configuration.display(values)
    screen = Screen(sys.stderr, silent=shown.silent)
    for line in configuration.warnings(values):
        screen.line(f"Warning: {line}")
    settings = configuration.settings(values)
    point = Path(os.path.realpath(mount_point.parent)) / mount_point.name if mount_point.name else mount_point
    fuse.check_point(point, screen.line, nonempty="nonempty" in chosen)
    ready: Callable[[], None] | None = None
    if daemonize:
        log = platformdirs.user_log_path("score") / f"mount{quote(str(point), safe='').replace('%2F', '-')}.log"
        screen.line(f"What happens in the background is written to {log}")
        try:
            ready = to_background(log)
        except ScoreError as error:
            error.hint = "Name another folder for the log in XDG_STATE_HOME, or leave out --daemonize."
            raise
        background: Screen = Log(sys.stderr, silent=shown.silent)
    else:
        background = screen
    clients: list[Client] = []
    mounts: list[fuse.Mount] = []

    def stop() -> None:
        for client in clients:
            client.stop.set()
        for one in mounts:
            one.end(signals, late)

    def late() -> None:
        background.line(f"{point}: reads that wait for store or server are given up.")
        fuse.unmount(point)
        os._exit(exits.OK)

    with fuse.Signals(stop) as signals, Client(settings, listener=background, block=BLOCK) as client:
        clients.append(client)
        client.connect(verify=verify_connection)
        wanted = None
        if manifest is not None:
            source = fetch(manifest, settings.portal_url, client.http, client.engine.persist)
            named = manifests.parse_download(source)
            wanted = tuple(dict.fromkeys((*named.ids, *named.indexes)))
        kept = _kept(settings.storage_url, settings.metadata_url, wanted) if cache_metadata else None
        repository = Repository(client, _index(kept), background.line, wanted)
        tree = Tree(
            repository,
            Handles(client.remote),
            Layout(layout.lower()),
            background.line,
            shared=bool({"allow_other", "allow_root"} & chosen.keys()),
            trace=values.boolean("mount.logging", False),
        )
        fetched = client.shared.tally  # before there is a mount: its cache may have no place
        mounts.append(fuse.Mount(tree, point, chosen, f"score:{urlsplit(settings.storage_url).netloc}"))
        client.stop.check()  # a signal that came before there was a mount to end

        def mounted() -> None:
            repository.start()
            background.line(f"Mounted on {point}. Unmount it: fusermount3 -u {point}")
            if ready is not None:
                ready()

        begun = time.monotonic()
        try:
            mounts[0].run(mounted)
        finally:
            client.stop.set()
            tree.close()
            repository.close()
            if mounts[0].begun:
                _sum_up(background, point, fetched, tree.tally, time.monotonic() - begun)
    return exits.OK


def _index(kept: Path | None) -> Index:
    from score.mount.index import Index

    try:
        with translated(kept or Path()):
            return Index(kept)
    except ScoreError as error:
        if kept is not None:
            error.hint = "Name another folder for the list in XDG_CACHE_HOME, or leave out --cache-metadata."
        raise


def _kept(storage: str, metadata: str, wanted: Sequence[str] | None) -> Path:
    """Where the list of files of a server, or of a manifest, is kept."""
    what = "\n".join([storage, metadata, *sorted(wanted or ())])
    return platformdirs.user_cache_path("score") / f"mount-{hashlib.sha256(what.encode()).hexdigest()[:16]}.sqlite"


def _sum_up(screen: Screen, point: Path, fetched: Fetched, did: Tally, seconds: float) -> None:
    asked = fetched.hits + fetched.misses
    screen.line(
        f"Unmounted {point} after {duration(seconds)}: {did.opened:,} files opened, {size(did.read)} read in "
        f"{did.reads:,} reads, {size(fetched.received)} fetched in {fetched.requests:,} requests, "
        f"{100 * fetched.hits // max(asked, 1)} % of blocks were there already, {did.errors:,} errors."
    )
