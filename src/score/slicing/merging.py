"""One file out of several slices, by samtools and bcftools as pysam brings them."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from score.errors import Conflict
from score.slicing.records import STDOUT, Format, pysam, refusal
from score.transfer.files import translate


def merge(paths: Sequence[Path], target: Path, format: Format, reference: Path | None) -> None:
    """Merge slices, sorted by coordinate, into ``target``. BAMs keep their read groups, renamed where two differ.

    Variants of other samples become columns of their own; those of the same samples become one list. Raises Conflict
    where they do not fit together, NoSpace or Refused where there is no place for the file.
    """
    library = pysam()
    with tempfile.TemporaryDirectory(prefix="score-merge-", dir=paths[0].parent) as folder:
        merged = Path(folder) / "merged"
        try:
            if format.variants:
                _variants(library, paths, merged, format, plain=target == STDOUT)
            else:
                _reads(library, paths, merged, format, reference)
        except library.utils.SamtoolsError as error:
            if (reason := refusal(merged)) is not None:
                raise translate(reason, paths[0].parent) from None
            last = str(error).strip().strip("'\"").splitlines()[-1:]
            said = last[0].replace(folder, "")[:200] if last else "no reason was given"
            raise Conflict(f"The slices cannot be merged: {said}", hint="Write them one by one.") from None
        if target == STDOUT:
            _write_out(merged)
        else:
            shutil.move(merged, target)


def _write_out(path: Path) -> None:
    """Copy a file to standard output. Raises NoSpace or Refused where it takes no more, BrokenPipeError where nobody
    reads it."""
    try:
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise translate(error, "Standard output") from error


def _reads(library: Any, paths: Sequence[Path], merged: Path, format: Format, reference: Path | None) -> None:
    given = ["--reference", str(reference)] if reference else []
    options = ["--output-fmt", f"{format},no_ref=1" if format is Format.CRAM and reference is None else str(format)]
    library.samtools.merge("-f", *given, *options, "-o", str(merged), *map(str, paths), catch_stdout=False)


def _variants(library: Any, paths: Sequence[Path], merged: Path, format: Format, *, plain: bool) -> None:
    tools = library.bcftools
    samples = []
    for path in paths:
        tools.index("-f", str(path))
        with library.VariantFile(str(path)) as file:
            samples.append(tuple(file.header.samples))
    kind = ["-O", "b" if format is Format.BCF else "v" if plain else "z", "-o", str(merged)]
    if len(paths) == 1:
        tools.view(*kind, str(paths[0]), catch_stdout=False)
    elif len(set(samples)) == 1:
        tools.concat("-a", *kind, *map(str, paths), catch_stdout=False)
    else:
        tools.merge(*kind, *map(str, paths), catch_stdout=False)
