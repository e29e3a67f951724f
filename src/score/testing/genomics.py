"""Files of reads and variants for tests, and what clients of htsget make of a ticket. Needs pysam.

The files are small, but have what makes cutting hard: reads that span introns, references without records, reads
without a place, and, where wanted, records that go from one block to the next.
"""

from __future__ import annotations

import base64
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pysam
import pysam.bcftools

REFERENCES = {"chr1": 600_000, "chr2": 300_000, "chrEmpty": 50_000, "HLA:01*02": 40_000, "chrX": 900_000}
"""Names and lengths. Nothing lies on ``chrEmpty``."""
UNPLACED = 500
"""Reads without a place in every file of reads."""
Fetch = Callable[[str, Mapping[str, str]], bytes]


def write_sam(path: Path, *, seed: int = 1, reads: int = 6000) -> Path:
    """A sorted SAM: most of the reads are short, some span introns, some are placed but not mapped."""
    dice = random.Random(seed)
    lines = ["@HD\tVN:1.6\tSO:coordinate", *(f"@SQ\tSN:{name}\tLN:{size}" for name, size in REFERENCES.items())]
    number = 0
    for name, size in REFERENCES.items():
        if name == "chrEmpty":
            continue
        for at in sorted(
            dice.randrange(1, size - 40_000 if size > 100_000 else size - 200) for _ in range(reads // 4)
        ):
            gap = dice.choice((0, 0, 0, 0, 0, 0, 5_000, 30_000)) if size > 100_000 else 0
            cigar = f"50M{gap}N50M" if gap else "100M"
            flag = 0
            if dice.random() < 0.03:
                flag, cigar = 4, "*"
            lines.append(_read(dice, f"r{number}", flag, name, at, cigar))
            number += 1
    lines += [_read(dice, f"u{one}", 4, "*", 0, "*") for one in range(UNPLACED)]
    path.write_text("\n".join(lines) + "\n")
    return path


def _read(dice: random.Random, name: str, flag: int, reference: str, at: int, cigar: str) -> str:
    bases = "".join(dice.choices("ACGT", k=100))
    quality = "".join(dice.choices("#,:F", k=100))
    return f"{name}\t{flag}\t{reference}\t{at}\t{0 if flag else 60}\t{cigar}\t*\t0\t0\t{bases}\t{quality}\tNM:i:0"


def write_bam(path: Path, *, seed: int = 1, reads: int = 6000, straddling: bool = False, csi: bool = False) -> Path:
    """A BAM with its index beside it; ``straddling``: blocks end anywhere, as other writers than htslib make them."""
    sam = write_sam(path.with_suffix(".sam"), seed=seed, reads=reads)
    pysam.view("-b", "--no-PG", "-o", str(path), str(sam), catch_stdout=False)
    if straddling:
        reblock(path, seed)
    pysam.index(*(("-c",) if csi else ()), str(path))
    sam.unlink()
    return path


def write_cram(path: Path, *, seed: int = 1, reads: int = 6000, version: str = "3.0", mixed: bool = False) -> Path:
    """A CRAM of many small containers, without reference, with its index beside it; ``mixed``: containers may hold
    several references."""
    sam = write_sam(path.with_suffix(".sam"), seed=seed, reads=reads)
    how = f"cram,version={version},no_ref=1,seqs_per_slice=200,slices_per_container=1"
    how += ",multi_seq_per_slice=1" if mixed else ""
    pysam.view("--output-fmt", how, "--no-PG", "-o", str(path), str(sam), catch_stdout=False)
    pysam.index(str(path))
    sam.unlink()
    return path


def write_vcf(path: Path, *, seed: int = 1, records: int = 6000, straddling: bool = False, csi: bool = False) -> Path:
    """A VCF (``.vcf.gz``) or BCF, by its name, with its index beside it; some records are long deletions."""
    dice = random.Random(seed)
    head = ["##fileformat=VCFv4.3", '##INFO=<ID=END,Number=1,Type=Integer,Description="End">']
    head += ['##INFO=<ID=SVTYPE,Number=1,Type=String,Description="Type">', '##ALT=<ID=DEL,Description="Deletion">']
    head += [f"##contig=<ID={name},length={size}>" for name, size in REFERENCES.items()]
    lines = [*head, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for name, size in REFERENCES.items():
        if name == "chrEmpty":
            continue
        for at in sorted(dice.randrange(1, size - 20_000) for _ in range(records // 4)):
            said = f"{name}\t{at}\trs{dice.randrange(10**9)}"
            if dice.random() < 0.02:
                lines.append(f"{said}\tN\t<DEL>\t.\tPASS\tSVTYPE=DEL;END={at + dice.randrange(1000, 15000)}")
            else:
                lines.append(f"{said}\t{''.join(dice.choices('ACGT', k=dice.randrange(1, 40)))}\tT\t50\tPASS\t.")
    plain = path.with_name(path.name + ".txt")
    plain.write_text("\n".join(lines) + "\n")
    bcf = path.suffix == ".bcf"
    form = "b" if bcf else "z"
    pysam.bcftools.view("--no-version", "-O", form, "-o", str(path), str(plain), catch_stdout=False)
    if straddling:
        reblock(path, seed)
    pysam.bcftools.index(*(() if bcf or csi else ("-t",)), str(path), catch_stdout=False)
    plain.unlink()
    return path


def reblock(path: Path, seed: int) -> None:
    """Pack a file of blocks anew, in blocks that end anywhere."""
    dice = random.Random(seed)
    data = pysam.BGZFile(str(path), "rb", None).read()
    packed = bytearray()
    at = 0
    while at < len(data):
        piece = data[at : at + dice.randrange(1, 20_000)]
        at += len(piece)
        squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = squeeze.compress(piece) + squeeze.flush()
        head = b"\x1f\x8b\x08\x04" + struct.pack("<IBBHBBHH", 0, 0, 255, 6, 66, 67, 2, len(body) + 25)
        packed += head + body + struct.pack("<II", zlib.crc32(piece), len(piece))
    path.write_bytes(bytes(packed) + bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000"))


def assemble(document: Mapping[str, Any], fetch: Fetch) -> bytes:
    """The bytes that a ticket stands for, as a client gets them: every URL in order, with its headers."""
    assert list(document) == ["htsget"], document
    ticket = document["htsget"]
    assert set(ticket) <= {"format", "urls", "md5"}, ticket
    classes = [one.get("class") for one in ticket["urls"]]
    assert None not in classes or set(classes) == {None}, "either all or none of the URLs have a class"
    assert classes == sorted(classes, key=[None, "header", "body"].index), classes
    pieces = []
    for one in ticket["urls"]:
        assert set(one) <= {"url", "headers", "class"}, one
        scheme, _, rest = one["url"].partition(":")
        if scheme == "data":
            assert rest.startswith(";base64,"), one
            assert "headers" not in one
            pieces.append(base64.b64decode(rest.removeprefix(";base64,"), validate=True))
        else:
            pieces.append(fetch(one["url"], one.get("headers", {})))
    return b"".join(pieces)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without words of htslib on indexes that are not there."""
    before = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(before)


def reads_of(path: Path, region: tuple[str, int, int | None] | None = None, *, indexed: bool = False) -> list[str]:
    """The reads of a file that overlap a region, as SAM lines in the order of the file; all without a region.

    ``indexed``: by the file's own index, else by looking at each.
    """
    with _quiet(), pysam.AlignmentFile(str(path), check_sq=False) as file:
        if region is None:
            return [read.to_string() for read in file.fetch(until_eof=True)]
        name, start, end = region
        if name == "*":
            found = (
                file.fetch("*") if indexed else (one for one in file.fetch(until_eof=True) if one.reference_id < 0)
            )
            return [read.to_string() for read in found]
        if indexed:
            return [read.to_string() for read in file.fetch(name, start, end)]
        number, last = file.get_tid(name), REFERENCES[name] if end is None else end
        return [
            read.to_string()
            for read in file.fetch(until_eof=True)
            if read.reference_id == number
            and read.reference_start < last
            and (read.reference_end or read.reference_start + 1) > start
        ]


def variants_of(path: Path, region: tuple[str, int, int | None] | None = None, *, indexed: bool = False) -> list[str]:
    """The variants of a file that overlap a region, as :func:`reads_of` gives reads."""
    with _quiet(), pysam.VariantFile(str(path)) as file:
        if region is None:
            return [str(record) for record in file]
        name, start, end = region
        if indexed:
            return [str(record) for record in file.fetch(name, start, end)]
        last = REFERENCES[name] if end is None else end
        return [
            str(record) for record in file if record.chrom == name and record.start < last and record.stop > start
        ]
