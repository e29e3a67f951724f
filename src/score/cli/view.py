"""``view``: parts of files of reads and variants."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from score._version import __version__
from score.cli import exits, options
from score.errors import Cancelled, ScoreError, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from score.cli.progress import Screen
    from score.client.client import Client
    from score.slicing.view import Item, Request, Written

Open = Callable[[], "AbstractContextManager[Item]"]

FORMATS = ("sam", "bam", "cram", "vcf", "bcf")
TYPES = ("trimmed", "merged", "cross")
_BETWEEN = re.compile(r",(?!\d{3}(?:[,-]|\Z))")
"""A comma between two regions, not one within a number."""


@click.command()
@click.option("--object-id", "object_ids", type=options.NAME, multiple=True, metavar="ID", help="Object to look at.")
@click.option(
    "--input-file", type=options.Place(path_type=Path, dir_okay=False), metavar="FILE", help="Local file to look at."
)
@click.option(
    "--input-file-index",
    type=options.Place(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Index of --input-file; else the one beside it, else one is built for this run.",
)
@options.manifest("objects")
@click.option(
    "--query",
    "queries",
    type=options.NAME,
    multiple=True,
    metavar="REGION...",
    help="Regions, such as chr1:1000-2000.",
)
@click.argument("more_queries", nargs=-1, metavar="")
@click.option(
    "--bed-query",
    type=options.Place(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="BED file of regions, in the place of --query.",
)
@click.option("--contained", is_flag=True, help="Only records that lie within a region, not those that overlap one.")
@click.option("--header-only", is_flag=True, help="The header alone; needs no index.")
@click.option(
    "--output-original-header", is_flag=True, help="The header word for word, without a line of this program."
)
@click.option(
    "--output-format",
    type=click.Choice(FORMATS, case_sensitive=False),
    help="Format; sam where not given, and vcf for variants. Files of vcf are packed (.vcf.gz).",
)
@click.option(
    "--output-type",
    type=click.Choice(TYPES, case_sensitive=False),
    default="trimmed",
    show_default=True,
    help="One file for each input with all regions; one file out of all inputs; or one for each input and region.",
)
@click.option(
    "--output-dir", type=options.Place(path_type=Path), metavar="DIR", help="Where to; else standard output."
)
@click.option("--output-index", is_flag=True, help="Write an index beside each file.")
@click.option("--stdout", is_flag=True, help="To standard output, whatever --output-dir says.")
@click.option(
    "--reference-file",
    type=options.Place(path_type=Path, dir_okay=False),
    metavar="FASTA",
    help="Reference of CRAM; else REF_PATH and what is in the file.",
)
@click.option(
    "--allow-missing-contig", is_flag=True, help="Warn of contigs that the header does not have, and go on."
)
@click.option("--scan", is_flag=True, help="Where there is no usable index, read all of the file for the regions.")
@options.verification("Where the store gives nothing, fetch a small object from it, to tell more of the reason.")
@click.pass_context
def view(
    ctx: click.Context,
    object_ids: tuple[str, ...],
    input_file: Path | None,
    input_file_index: Path | None,
    manifest: str | None,
    queries: tuple[str, ...],
    more_queries: tuple[str, ...],
    bed_query: Path | None,
    contained: bool,
    header_only: bool,
    output_original_header: bool,
    output_format: str | None,
    output_type: str,
    output_dir: Path | None,
    output_index: bool,
    stdout: bool,
    reference_file: Path | None,
    allow_missing_contig: bool,
    scan: bool,
    verify_connection: bool,
) -> int:
    """Show or store parts of BAM, CRAM, SAM, VCF and BCF files without downloading them."""
    from score.cli import inputs
    from score.cli.session import session
    from score.client import manifests
    from score.protocol.ids import check_object_id
    from score.slicing.names import distinct
    from score.slicing.records import Format, require_pysam
    from score.slicing.regions import read_bed
    from score.slicing.view import OutputType, Request

    if [bool(object_ids), input_file is not None, manifest is not None].count(True) != 1:
        raise click.UsageError("Give one of --object-id, --input-file and --manifest.")
    if input_file_index is not None and input_file is None:
        raise click.UsageError("--input-file-index belongs to --input-file.")
    if more_queries and not queries:
        raise click.UsageError(f"What is {more_queries[0]!r}? Regions follow --query.")
    if "" in more_queries:
        raise click.UsageError(f"A region after --query: {options.EMPTY}")
    if queries and bed_query is not None:
        raise click.UsageError("Give --query or --bed-query, not both.")
    kind = OutputType(output_type.lower())
    folder = None if stdout else output_dir
    several = manifest is not None or len(object_ids) > 1
    if folder is None and (kind is OutputType.CROSS or (several and kind is not OutputType.MERGED)):
        raise click.UsageError("Several files need --output-dir; standard output takes one.")
    if folder is None and output_index:
        raise click.UsageError("--output-index needs --output-dir: what goes to standard output has no index.")
    if reference_file is not None:
        _require_fasta(reference_file)
    regions = tuple(read_bed(_text(bed_query), str(bed_query))) if bed_query is not None else None
    request = Request(
        queries=tuple(one for query in (*queries, *more_queries) for one in _BETWEEN.split(query)),
        bed=regions,
        bed_name=bed_query.name if bed_query is not None else "",
        contained=contained,
        header_only=header_only,
        original_header=output_original_header,
        format=Format(output_format.lower()) if output_format else None,
        type=kind,
        output_dir=folder,
        output_index=output_index,
        reference=reference_file,
        allow_missing=allow_missing_contig,
        scan=scan,
        command=_command(ctx),
        version=__version__,
    )
    require_pysam()
    if input_file is not None:
        return _view_local(ctx, input_file, input_file_index, request)
    with session(ctx, live=False) as run:
        client, screen = run.client, run.screen
        ids = list(dict.fromkeys(object_ids))
        if manifest is not None:
            ids = list(dict.fromkeys(manifests.parse_download(inputs.source(run, manifest)).ids))
        for object_id in ids:
            check_object_id(object_id)
        known = _names(client, ids) if several else {}
        if manifest is not None:
            ids = _sliceable(known, screen)
        labels = distinct((one, known.get(one) or one) for one in ids) if several else [""]
        opens = [
            _remote(client, one, request, verify_connection and not at, label)
            for at, (one, label) in enumerate(zip(ids, labels, strict=True))
        ]
        return _run(list(zip(ids, opens, strict=True)), request, screen, client.stop.set)


def _view_local(ctx: click.Context, path: Path, index: Path | None, request: Request) -> int:
    """A local file needs no server, and no settings of one."""
    from score.cli.progress import make
    from score.cli.session import read
    from score.client import settings
    from score.slicing.inputs import local

    with make(settings.display(read(ctx)), sys.stderr, live=False) as screen:

        def note(text: str) -> None:
            screen.line(f"{path}: {text}")

        return _run([(str(path), lambda: local(path, index, note))], request, screen, lambda: None)


def _remote(client: Client, object_id: str, request: Request, verify: bool, label: str) -> Open:
    from score.slicing.inputs import remote

    return lambda: remote(client, object_id, indexed=request.sliced, verify=verify, label=label)


def _names(client: Client, ids: Sequence[str]) -> dict[str, str]:
    """The names of the files of objects; none where the metadata service has none, which fails in its turn."""
    found = dict.fromkeys(ids, "")
    for object_id in ids:
        try:
            found[object_id] = client.catalog.entity(object_id).file_name
        except (Cancelled, Unavailable, Unauthenticated):
            raise  # it would be the same with all others
        except ScoreError:
            pass
    return found


def _run(inputs: Sequence[tuple[str, Open]], request: Request, screen: Screen, stop: Callable[[], None]) -> int:
    """Write the slices of all inputs; one that fails does not stop the others, unless all become one file."""
    from score.client.outcome import Outcome, State
    from score.slicing.inputs import interruptible
    from score.slicing.view import OutputType, view, view_merged

    def tell(written: Written) -> None:
        if request.output_dir is not None:
            screen.line(f"{written.path}: {written.records:,} records")

    if request.type is OutputType.MERGED:

        def merge() -> Written:
            return view_merged([open_ for _, open_ in inputs], request)

        with _quiet_end():
            tell(interruptible(merge, stop))
        return exits.OK
    status = exits.OK
    taken: set[Path] = set()
    for name, open_ in inputs:

        def one(open_: Open = open_) -> list[Written]:
            with open_() as item:
                return view(item, request, taken)

        try:
            with _quiet_end():
                for written in interruptible(one, stop):
                    tell(written)
        except ScoreError as error:
            if len(inputs) == 1:
                raise
            screen.ended(Outcome(name, State.FAILED, error=error))
            status = exits.SOME_FAILED
    if status:
        screen.conclude()
    return status


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Nobody reads standard output any more (``| head``): end as every filter does, by the signal for that."""
    sys.stdout.flush()
    try:
        yield
    except BrokenPipeError:
        if sys.platform != "win32":  # which has no such signal
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGPIPE)
        os._exit(exits.INTERRUPTED)


def _sliceable(known: Mapping[str, str], screen: Screen) -> list[str]:
    """The objects that hold reads or variants, or of which nothing is known."""
    from score.slicing.names import sliceable

    found = []
    for object_id, name in known.items():
        if sliceable(name) or not name:
            found.append(object_id)
        else:
            screen.line(f"{object_id}: left out, {name!r} is no file of reads or variants")
    return found


def _require_fasta(path: Path) -> None:
    """Raises UsageError where it is none: a wrong one would be noticed in the middle of what is written."""
    from score.genomics.bgzf import is_bgzf
    from score.transfer.files import translated

    if not os.path.isfile(path):
        raise click.UsageError(f"--reference-file {path}: there is no such file.")
    with translated(path), path.open("rb") as file:
        head = file.read(64)
    if not (is_bgzf(head) or head.lstrip().startswith(b">")):
        raise click.UsageError(f"--reference-file {path} is no FASTA file, neither text nor packed by bgzip.")


def _text(path: Path) -> str:
    from score.transfer.files import translate

    try:
        return path.read_text("utf-8-sig")  # spreadsheets put a mark before the first contig
    except UnicodeDecodeError:
        raise click.UsageError(f"{path} is no BED file: it is not text. Unpack it first, if it is packed.") from None
    except OSError as error:
        raise translate(error, path) from error


def _command(ctx: click.Context) -> str:
    """The command line for the header of what is written: the options of ``view`` that were given, not settings: a
    token is one."""
    words = ["score-client", "view"]
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        option = parameter.opts[0] if isinstance(parameter, click.Option) else ""
        if getattr(parameter, "is_flag", False):
            words.append(option)
            continue
        value = ctx.params[name]
        for one in value if isinstance(value, tuple) else (value,):
            words += [word for word in (option, str(one).lower() if isinstance(one, bool) else str(one)) if word]
    return shlex.join(words)
