"""Variants from a pipe to a file or to standard output: as lines of text where VCF is wanted, by pysam where BCF is.

Many a VCF does not declare all that its records use. htslib then declares it in memory when it comes to it. For VCF
that is enough: the header goes out as it was. BCF refers to what its header declares, so that all of it has to be
known before the first record is written.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any

from score.errors import Conflict
from score.genomics.bgzf import EOF, deflate
from score.protocol.parts import MIB
from score.slicing.records import (
    STDOUT,
    THREADS,
    Format,
    Task,
    pysam,
    sink_of,
    source_of,
    undecodable,
    unreadable,
    unwritable,
)

_LEVEL = 6
_STDOUT = 1


class Undeclared(Exception):
    """Records use what the header does not declare: ``lines`` would. Whoever asked for BCF asks again with them."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("a header does not declare all that its records use")
        self.lines = lines


def copy_variants(fd: int, opened: Callable[[], None], task: Task, check: Callable[[], None]) -> int:
    """Write the wanted variants; see :func:`score.slicing.records.copy_reads`. Raises Undeclared for BCF."""
    library = pysam()
    try:
        source = library.VariantFile(fd)  # by a name it would look for an index
    except (OSError, ValueError):
        raise unreadable(task) from None
    finally:
        opened()
    with source_of(source, task):
        for line in task.declared:
            source.header.add_line(line)
        if not task.original:
            source.header.add_line(f"##score-client_viewCommand={task.command}; version {task.version}")
        copy = _copy_text if task.format is Format.VCF else _copy_binary
        return copy(source, task, check)


def _copy_text(source: Any, task: Task, check: Callable[[], None]) -> int:
    header = task.text if task.original and task.text else _bytes(str(source.header))
    try:
        sink = _Text(task.target)
    except OSError as error:
        raise unwritable(task, error) from None
    count = 0
    with sink_of(sink, task):
        sink.write(header)
        for record in _wanted(source, task, check):
            sink.write(_bytes(str(record).rstrip("\n") + "\n"))
            count += 1
    return count


def _copy_binary(source: Any, task: Task, check: Callable[[], None]) -> int:
    known = len(source.header.records)
    records = _wanted(source, task, check)
    first = [*islice(records, 1)]  # before the header is written
    if len(source.header.records) > known:
        raise _learn(source, records, known)
    try:
        sink = pysam().VariantFile(str(task.target), "wb", header=source.header, threads=THREADS)
    except (OSError, ValueError) as error:
        raise unwritable(task, error) from None
    count = 0
    with sink_of(sink, task):
        for record in chain(first, records):
            if len(source.header.records) > known:
                if task.target == STDOUT:
                    raise Conflict(
                        f"The header of {task.name} does not declare all that its records use: "
                        f"{_added(source, known)[0]}",
                        hint="BCF needs that, and a part of it is written already. "
                        "--output-format vcf, or --output-dir for a file.",
                    )
                raise _learn(source, records, known)
            sink.write(record)
            count += 1
    return count


def _learn(source: Any, records: Iterator[Any], known: int) -> Undeclared:
    """All that the rest of the records uses, too."""
    for _ in records:
        pass
    return Undeclared(_added(source, known))


def _added(source: Any, known: int) -> tuple[str, ...]:
    """The lines of a header that were not there at first."""
    return tuple(str(line).strip() for line in [*source.header.records][known:])


def _wanted(source: Any, task: Task, check: Callable[[], None]) -> Iterator[Any]:
    takes = task.wanted.takes if task.wanted is not None else None
    seen = 0
    while not task.header_only:
        try:
            record = next(source)
        except StopIteration:
            break
        except (OSError, ValueError):
            raise undecodable(task, source) from None
        seen += 1
        if not seen % 1024:
            check()
        if takes is None or takes(record.chrom, max(record.start, 0), max(record.stop, 1)):
            yield record
    task.judge([*source.header.contigs])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Text:
    """Lines of text: to standard output as they are, into a file in blocks (BGZF), which threads pack."""

    def __init__(self, target: Path) -> None:
        self._pool = None if target == STDOUT else ThreadPoolExecutor(THREADS, thread_name_prefix="pack")
        self._fd = _STDOUT if target == STDOUT else os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self._held = bytearray()
        self._packing: deque[Future[bytes]] = deque()

    def write(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= (64 * 1024 if self._pool is None else MIB):
            self._flush(2 * THREADS)

    def close(self) -> None:
        try:
            self._flush(0)
            if self._pool is not None:
                self._write(EOF)
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
                os.close(self._fd)

    def _flush(self, most: int) -> None:
        """Write what is held; at most so many packed pieces are left on their way."""
        data = bytes(self._held)
        self._held.clear()
        if self._pool is None:
            self._write(data)
            return
        self._packing.append(self._pool.submit(deflate, data, _LEVEL))
        while len(self._packing) > most:
            self._write(self._packing.popleft().result())

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
