"""Options that several commands share. No more than click is imported, so that help and completion are quick."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    _Type = click.ParamType[tuple[int, int]]
    _Seconds = click.ParamType[float]
else:  # which can be indexed in new versions only
    _Type = _Seconds = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])

LAYOUTS = ("filename", "bundle", "id")


def kept(name: str, key: str, **attributes: Any) -> Callable[[F], F]:
    """An option whose value is kept in ``ctx.obj[key]`` for :func:`score.cli.session.session` and for the end."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
        ctx.obj[key] = value

    return click.option(name, key, expose_value=False, callback=keep, **attributes)


def setting(name: str, of: str, convert: Callable[[Any], object] = str, **attributes: Any) -> Callable[[F], F]:
    """An option that is another word for a setting."""

    def take(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
        if value is not None:
            ctx.obj["settings"].append(f"--{of}={convert(value)}")

    return click.option(name, expose_value=False, callback=take, **attributes)


EMPTY = "it is empty. Is a variable of the script not set?"


class Name(click.types.StringParamType):
    """A text that names something, which an empty one never does."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text. A usage error where it is empty."""
        return super().convert(value, param, ctx) if value != "" else self.fail(EMPTY, param, ctx)


NAME = Name()


class Place(click.Path):
    """A file or folder; an empty name would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. A usage error where it is empty."""
        return super().convert(NAME.convert(value, param, ctx), param, ctx)


class Shard(_Type):
    """``I/N``: the I-th of N shares, counted from 1."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The two numbers. A usage error where they are none."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", str(value))
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            self.fail(f"{value!r} is not I/N with I from 1 to N, such as 3/10.", param, ctx)
        return int(found[1]), int(found[2])


class Duration(_Seconds):
    """``1d``, ``2h30m``, ``90s``; a number alone is in seconds."""

    name = "TIME"
    _UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds. A usage error where it is no time."""
        if isinstance(value, float):
            return value
        pattern = "".join(rf"(?:(\d{{1,9}}){unit})?" for unit, _ in self._UNITS)
        text = f"{value}s" if str(value).isdecimal() else str(value)
        found = re.fullmatch(pattern, text, re.ASCII)
        seconds = (
            sum(int(n or 0) * worth for n, (_, worth) in zip(found.groups(), self._UNITS, strict=True))
            if found
            else 0
        )
        if not seconds:
            self.fail(f"{value!r} is no time such as 1d, 2h30m or 90s.", param, ctx)
        return float(seconds)


def verification(says: str) -> Callable[[F], F]:
    """``--verify-connection``."""
    return click.option(
        "--verify-connection", type=bool, default=True, show_default=True, metavar="BOOLEAN", help=says
    )


verify_connection = verification("First fetch a small object from the store, to see that it can be reached.")
as_json = kept(
    "--json",
    "json",
    is_flag=True,
    is_eager=True,  # what is wrong with another option is told by a record too
    help="Records for programs on standard output: one JSON document a line.",
)
as_document = kept("--json", "document", is_flag=True, help="One JSON document on standard output.")
report = kept(
    "--report",
    "report",
    type=Place(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a line for each object as it ends: state, bytes, seconds, MD5, error; tab separated.",
)
no_transfer = kept(
    "--error-on-no-transfer", "no_transfer", is_flag=True, help="Exit status 9 where there was nothing to move."
)
retries = setting(
    "--retries",
    "storage.retryNumber",
    lambda count: count + 1,
    type=click.IntRange(0, 10_000),
    metavar="N",
    help="How often a failed call is repeated (storage.retryNumber, which counts the first call too).",
)
state_dir = setting(
    "--state-dir",
    "client.uploadStateDir",
    type=Place(),
    metavar="DIR",
    help="Folder for the state of uploads (client.uploadStateDir); beside each file where not given.",
)
bwlimit = kept(
    "--bwlimit",
    "bwlimit",
    metavar="RATE",
    help='Bytes per second at most: 10M, 10M:1M (up:down), or by the time of day: "08:00,512k 18:00,off".',
)
max_duration = kept(
    "--max-duration",
    "max_duration",
    type=Duration(),
    metavar="TIME",
    help="Stop after that time, such as 2h30m; the same command goes on from there. Exit status 130.",
)
dry_run = click.option("--dry-run", is_flag=True, help="Tell what would be done; move nothing.")
shard = click.option(
    "--shard",
    type=Shard(),
    metavar="I/N",
    help="Only the I-th of N shares, of like size: for a job array.",
)
layout = click.option(
    "--output-layout",
    type=click.Choice(LAYOUTS, case_sensitive=False),
    default=LAYOUTS[0],
    show_default=True,
    help="DIR/name, DIR/analysis/name, or DIR/object-id.",
)
index = click.option(
    "--index", type=bool, default=True, show_default=True, metavar="BOOLEAN", help="Index files (.bai, .tbi …) too."
)


def manifest(of: str, **attributes: Any) -> Callable[[F], F]:
    """``--manifest``."""
    said = f"Manifest of the {of}: a path, a URL, a UUID known to the portal, or - for standard input."
    return click.option(
        "--manifest", type=Place(allow_dash=True, path_type=str), metavar="FILE", help=said, **attributes
    )


def selection(command: F) -> F:
    """Which objects: by manifest, by id, by analysis."""
    options = (
        manifest("objects"),
        click.option(
            "--object-id",
            "object_ids",
            type=NAME,
            multiple=True,
            metavar="ID...",
            help="Object ids; several may follow; - for those on standard input, one a line.",
        ),
        click.argument("more_ids", nargs=-1, metavar=""),
        click.option("--analysis-id", type=NAME, metavar="ID", help="All files of an analysis; needs --study-id."),
        click.option("--study-id", "--program-id", type=NAME, metavar="ID", help="Study of the analysis."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def told(command: F) -> F:
    """What is told, and to whom."""
    for option in (retries, report, as_json):
        command = option(command)
    return command


def limits(command: F) -> F:
    """How fast, and for how long."""
    for option in (max_duration, bwlimit):
        command = option(command)
    return command


def require_one_selection(
    manifest: str | None, ids: Sequence[str], more_ids: Sequence[str], analysis: str | None, study: str | None
) -> None:
    """A usage error where not exactly one way to name objects is used."""
    if (analysis is None) != (study is None):
        raise click.UsageError("--analysis-id and --study-id belong together.")
    if more_ids and not ids:
        raise click.UsageError(f"What is {more_ids[0]!r}? Object ids follow --object-id.")
    if "" in more_ids:
        raise click.UsageError(f"An object id after --object-id: {EMPTY}")
    if [manifest is not None, bool(ids), analysis is not None].count(True) != 1:
        raise click.UsageError("Give one of --manifest, --object-id, or --analysis-id with --study-id.")
