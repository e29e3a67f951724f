"""Reads from a pipe to a file or to standard output, by pysam: those that are wanted, in the format asked for.

And what variants share with them.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import select
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from score.errors import Conflict, Integrity, Invalid, Misconfigured
from score.slicing.regions import Wanted
from score.transfer.files import translate

THREADS = 2
"""Threads of htslib that pack what is written."""
STDOUT = Path("-")


class Format(StrEnum):
    """What is written."""

    SAM = "sam"
    BAM = "bam"
    CRAM = "cram"
    VCF = "vcf"
    BCF = "bcf"

    @property
    def variants(self) -> bool:
        """Whether it is a format of variants, not of reads."""
        return self in (Format.VCF, Format.BCF)


@dataclass(frozen=True)
class Task:
    """What is to be written of one file. ``target`` is ``-`` for standard output.

    ``wanted`` None: every record; ``header`` alone, or with the ``original`` header, word for word; ``reference`` of
    CRAM; ``command`` is what the header will say that made the file. Of variants: ``text`` is the header as the file
    has it, where it is known, ``declared`` are lines to be added to it, and ``judge`` is given the names of all
    contigs that there are, when all was read: it may raise.
    """

    name: str
    target: Path
    format: Format
    wanted: Wanted | None = None
    header_only: bool = False
    original: bool = False
    reference: Path | None = None
    command: str = ""
    version: str = ""
    text: bytes = b""
    declared: tuple[str, ...] = ()
    judge: Callable[[Sequence[str]], None] = lambda contigs: None


def require_pysam() -> None:
    """Raises Misconfigured where the extra is not installed; loads nothing."""
    if importlib.util.find_spec("pysam") is None:
        raise Misconfigured("Slicing needs pysam, which is not installed.", hint="Install it: pip install pysam")


def pysam() -> Any:
    """The library, loaded when it is first needed. Its warnings are not shown, its errors are."""
    import pysam as library
    import pysam.bcftools

    library.set_verbosity(1)
    library.set_encoding_error_handler("surrogateescape")  # texts in files are of any encoding
    return library


def copy_reads(fd: int, opened: Callable[[], None], task: Task, check: Callable[[], None]) -> int:
    """Write the wanted reads; gives their number. ``opened`` is called when ``fd`` is no longer needed, ``check`` now
    and then: it may raise to stop."""
    library = pysam()
    reference = str(task.reference) if task.reference else None
    try:
        # by a name it would look for an index, and complain that there is none
        source = library.AlignmentFile(fd, "r", check_sq=False, reference_filename=reference)
    except (OSError, ValueError):
        raise unreadable(task) from None
    finally:
        opened()
    with source_of(source, task):
        if source.format not in ("SAM", "BAM", "CRAM"):
            raise Invalid(f"{task.name} is {source.format}, and not SAM, BAM or CRAM.", hint="Name another file.")
        header = source.header
        if not task.original:
            contigs = dict(zip(source.references, source.lengths, strict=True))
            header = library.AlignmentHeader.from_text(with_program(with_contigs(str(header), contigs), task))
        mode = {Format.SAM: "wh", Format.BAM: "wb", Format.CRAM: "wc"}[task.format]
        options = [b"no_ref=1"] if task.format is Format.CRAM and reference is None else None
        count = 0
        try:
            with _dropped_quietly():
                sink = library.AlignmentFile(
                    str(task.target),
                    mode,
                    header=header,
                    reference_filename=reference,
                    format_options=options,
                    threads=1 if task.format is Format.SAM else THREADS,
                )
        except (OSError, ValueError) as error:
            raise unwritable(task, error) from None
        with sink_of(sink, task):
            if not task.header_only:
                count = _select_reads(source, sink, task, check)
    return count


@contextlib.contextmanager
def _dropped_quietly() -> Iterator[None]:
    """pysam closes a file that it could not begin once more as it drops it; that this fails as well is not shown, as
    Cython would, by both hooks."""
    hooks = sys.excepthook, sys.unraisablehook
    sys.excepthook, sys.unraisablehook = lambda *_: None, lambda _: None
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = hooks


def _select_reads(source: Any, sink: Any, task: Task, check: Callable[[], None]) -> int:
    names = [*source.references]
    takes = task.wanted.takes if task.wanted is not None else None
    count = seen = 0
    reads = source.fetch(until_eof=True)
    while True:
        try:
            read = next(reads)
        except StopIteration:
            return count
        except OSError:
            raise undecodable(task, source) from None
        seen += 1
        if not seen % 1024:
            check()
        if takes is not None:
            number, begin = read.reference_id, read.reference_start
            if not takes(names[number] if number >= 0 else None, begin, read.reference_end or begin + 1):
                continue
        sink.write(read)
        count += 1


def with_contigs(text: str, contigs: Mapping[str, int]) -> str:
    """A SAM header with a line for every contig, in their order: that of a BAM need not have them, since its records
    refer to another list. pysam then adds them behind an empty line, where others see the end of the header."""
    lines = text.splitlines()
    sequences = [line for line in lines if line.startswith("@SQ\t")]
    known = {cell[3:]: line for line in sequences for cell in line.split("\t") if cell.startswith("SN:")}
    if [*known] == [*contigs] and "" not in lines:
        return text
    first = 1 if lines and lines[0].startswith("@HD\t") else 0
    declared = [known.get(name) or f"@SQ\tSN:{name}\tLN:{length}" for name, length in contigs.items()]
    rest = [line for line in lines[first:] if line and not line.startswith("@SQ\t")]
    return "".join(f"{line}\n" for line in [*lines[:first], *declared, *rest])


def with_program(text: str, task: Task) -> str:
    """A SAM header with a line that says what made the file."""
    programs = [
        dict(cell.partition(":")[::2] for cell in line.split("\t")[1:])
        for line in text.splitlines()
        if line.startswith("@PG\t")
    ]
    taken = {program.get("ID") for program in programs}
    name = next(name for name in ("score", *(f"score.{n}" for n in range(1, len(taken) + 2))) if name not in taken)
    previous = f"\tPP:{programs[-1]['ID']}" if programs and programs[-1].get("ID") else ""
    line = f"@PG\tID:{name}\tPN:score-client{previous}\tVN:{task.version}\tCL:{task.command}"
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n"


@contextlib.contextmanager
def sink_of(sink: Any, task: Task) -> Iterator[None]:
    """Close what was written; what only then goes wrong counts, unless something else did before.

    An OSError within is one of writing: what reading raises is an error of Score.
    """
    failure: OSError | None = None
    try:
        yield
    except OSError as error:
        failure = error
    except BaseException:
        with contextlib.suppress(OSError):
            sink.close()
        raise
    try:
        sink.close()
    except OSError as error:
        if failure is None or not failure.errno:
            failure = error  # htslib tells the reason at the end
    if failure is not None:
        raise unwritable(task, failure) from None


@contextlib.contextmanager
def source_of(source: Any, task: Task) -> Iterator[None]:
    """Close what was read; an error that only then shows is one of the file, unless there was one before.

    pysam fails to word an error of a file without a name (TypeError).
    """
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError, TypeError):
            source.close()
        raise
    try:
        source.close()
    except (OSError, TypeError):
        raise undecodable(task, source) from None


def unwritable(task: Task, error: Exception) -> Exception:
    """What a failure to write means: BrokenPipeError where nobody reads standard output any more.

    The errno that htslib leaves may be an older one, so the file is asked itself.
    """
    if task.target == STDOUT and is_broken(1):
        return BrokenPipeError()
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason: OSError | None = error
    else:
        reason = _shortage(1) if task.target == STDOUT else refusal(task.target)
    target = "Standard output" if task.target == STDOUT else str(task.target)
    if reason is not None:
        return translate(reason, target)
    return Conflict(
        f"{target}: {task.name} cannot be written as {task.format}: {error}",
        hint="A record may hold what this format cannot; another --output-format may.",
    )


def refusal(path: Path) -> OSError | None:
    """Why a file that was not finished, and will not be kept, takes no more bytes; None where it does."""
    try:
        with open(path, "ab", buffering=0) as file:
            file.write(bytes(4096))
    except OSError as error:
        return error
    return None


def _shortage(fd: int) -> OSError | None:
    """That the disk of an open file is full; None where it is not, or the file is on none. Nothing is written."""
    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.fstat(fd).st_mode):
            disk = shutil.disk_usage(fd)
            if disk.total and not disk.free:
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def is_broken(fd: int) -> bool:
    """Whether a descriptor is a pipe that nobody reads any more."""
    watch = select.poll()
    try:
        watch.register(fd, select.POLLERR)
        return any(event & (select.POLLERR | select.POLLNVAL) for _, event in watch.poll(0))
    except OSError:
        return False


def unreadable(task: Task) -> Invalid:
    """What a failure to open the pipe means."""
    return Invalid(
        f"{task.name} cannot be read: its beginning is not that of a file of reads or variants.",
        hint="Download it whole, and look what it is.",
    )


def undecodable(task: Task, source: Any) -> Exception:
    """What a failure to read a record means."""
    if getattr(source, "is_cram", False):
        if task.reference is None:
            return Misconfigured(
                f"{task.name} is CRAM, and cannot be unpacked: its reference is not to be found, or it is damaged.",
                hint="Name the FASTA file that it was made with: --reference-file, or set REF_PATH. If that was "
                "done, look for a whole copy of it.",
            )
        return Integrity(
            f"{task.name} cannot be unpacked with the reference {task.reference}.",
            hint="The reference is not the one that the file was made with, or the file is damaged.",
        )
    return Integrity(
        f"{task.name} cannot be read to its end: a record is damaged, or the file was cut short.",
        hint="If there is an index, it may be one of another file.",
    )
