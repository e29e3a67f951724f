"""Files of reads and variants in every format, with their indexes, made once; and a way to slice them."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pysam
import pysam.bcftools
import pytest

from score.genomics.bgzf import EOF, deflate
from score.slicing.inputs import local
from score.slicing.view import Request, Written, view

CONTIGS = {"chr1": 600_000, "chr2": 90_000, "chrEmpty": 5_000, "HLA-A*01:01": 3_000, "6": 40_000}
SAMPLES = ("donor-1", "donor-2")


@dataclass
class Files:
    """The files, by their kind: all reads are the same in every one, as are all variants."""

    folder: Path
    reference: Path
    reads: dict[str, Path] = field(default_factory=dict)
    variants: dict[str, Path] = field(default_factory=dict)

    def of(self, kind: str) -> Path:
        return (self.reads | self.variants)[kind]


def make_reference(path: Path, dice: random.Random) -> dict[str, str]:
    sequences = {name: "".join(dice.choices("ACGT", k=length)) for name, length in CONTIGS.items()}
    path.write_text("".join(f">{name}\n{text}\n" for name, text in sequences.items()))
    pysam.faidx(str(path))
    return sequences


def sam_lines(sequences: dict[str, str], dice: random.Random) -> Iterator[str]:
    """Reads of every shape: gaps of all lengths, without a CIGAR, unmapped beside their mate, and unplaced."""
    for name, text in sequences.items():
        if name == "chrEmpty":
            continue
        places = sorted(dice.randrange(1, len(text) - 300) for _ in range(len(text) // 150))
        for number, at in enumerate(places):
            shape = dice.random()
            query = text[at - 1 : at + 99]
            if shape < 0.05:
                gap = dice.choice((500, 20_000, 150_000))
                cigar = f"50M{gap}N50M" if at + gap + 100 < len(text) else "100M"
                query = text[at - 1 : at + 49] + text[at + 49 + gap : at + 99 + gap] if "N" in cigar else query
                flag = 0
            elif shape < 0.08:
                cigar, flag = "*", 4
            elif shape < 0.1:
                cigar, flag, query = "30S40M20D30M", 16, query
            else:
                cigar, flag = "100M", 0
            mapq = 0 if flag & 4 else 60
            place = f"r{name[-1]}{number}\t{flag}\t{name}\t{at}\t{mapq}\t{cigar}\t*\t0\t0"
            yield f"{place}\t{query}\t{'F' * len(query)}\tRG:Z:g1\n"
    for number in range(50):
        yield f"u{number}\t4\t*\t0\t0\t*\t*\t0\t0\t{'ACGT' * 20}\t{'F' * 80}\tRG:Z:g1\n"


def sam_header() -> str:
    lines = ["@HD\tVN:1.6\tSO:coordinate", *(f"@SQ\tSN:{name}\tLN:{length}" for name, length in CONTIGS.items())]
    return "\n".join([*lines, "@RG\tID:g1\tSM:donor-1", "@PG\tID:aligner\tPN:aligner", "@CO\ta comment", ""])


def vcf_text(dice: random.Random, samples: tuple[str, ...] = SAMPLES) -> str:
    lines = ["##fileformat=VCFv4.2"]
    lines += [f"##contig=<ID={name},length={length}>" for name, length in CONTIGS.items() if ":" not in name]
    lines += ['##INFO=<ID=END,Number=1,Type=Integer,Description="End">']
    lines += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">', '##ALT=<ID=DEL,Description="Deletion">']
    lines += ["\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples])]
    for name, length in CONTIGS.items():
        if name == "chrEmpty" or ":" in name:
            continue
        for at in sorted(dice.sample(range(1, length), length // 100)):
            ref, alt, info = "A", "C", "."
            if dice.random() < 0.1:
                ref = "A" * dice.choice((2, 30, 400))
            elif dice.random() < 0.05:
                alt, info = "<DEL>", f"END={min(length, at + dice.choice((100, 5_000, 80_000)))}"
            lines.append(
                "\t".join([name, str(at), ".", ref, alt, "50", "PASS", info, "GT", *("0/1" for _ in samples)])
            )
    return "\n".join(lines) + "\n"


def reblock(source: Path, target: Path, size: int = 7_001) -> None:
    """The same data in blocks that end anywhere, also within a record: other programs write such files."""
    with pysam.BGZFile(str(source)) as file:
        data = file.read()
    target.write_bytes(b"".join(deflate(data[at : at + size]) for at in range(0, len(data), size)) + EOF)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("slicing")
    dice = random.Random(17)
    found = Files(folder, folder / "reference.fa")
    sequences = make_reference(found.reference, dice)
    sam = folder / "plain.sam"
    sam.write_text(sam_header() + "".join(sam_lines(sequences, dice)))
    bam = folder / "reads.bam"
    pysam.view("-b", "-o", str(bam), str(sam), catch_stdout=False)
    found.reads = {"sam": sam, "bam": bam}
    found.reads["straddling"] = folder / "straddling.bam"
    reblock(bam, found.reads["straddling"])
    found.reads["csi"] = folder / "csi.bam"
    found.reads["csi"].write_bytes(bam.read_bytes())
    found.reads["cram"] = folder / "reads.cram"
    options = f"cram,seqs_per_slice=300,reference={found.reference}"
    pysam.view("-O", options, "-o", str(found.reads["cram"]), str(bam), catch_stdout=False)
    for kind in ("bam", "straddling", "cram"):
        pysam.index(str(found.reads[kind]))
    pysam.index("-c", str(found.reads["csi"]))
    vcf = folder / "plain.vcf"
    vcf.write_text(vcf_text(dice))
    found.variants = {"vcf": vcf, "tbi": folder / "tbi.vcf.gz", "bcf": folder / "calls.bcf"}
    pysam.bcftools.view("-Oz", "-o", str(found.variants["tbi"]), str(vcf), catch_stdout=False)
    pysam.bcftools.view("-Ob", "-o", str(found.variants["bcf"]), str(vcf), catch_stdout=False)
    found.variants["vcf-csi"] = folder / "csi.vcf.gz"
    found.variants["vcf-csi"].write_bytes(found.variants["tbi"].read_bytes())
    found.variants["vcf-straddling"] = folder / "straddling.vcf.gz"
    reblock(found.variants["tbi"], found.variants["vcf-straddling"])
    pysam.bcftools.index("-t", str(found.variants["tbi"]))
    pysam.bcftools.index("-t", str(found.variants["vcf-straddling"]))
    pysam.bcftools.index("-c", str(found.variants["vcf-csi"]))
    pysam.bcftools.index(str(found.variants["bcf"]))
    return found


Slice = Callable[..., list[Written]]


@pytest.fixture
def make_calls(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a packed VCF of one sample."""

    def make(sample: str) -> Path:
        text, packed = tmp_path / f"{sample}.vcf", tmp_path / f"{sample}.vcf.gz"
        text.write_text(vcf_text(random.Random(sample), (sample,)))
        pysam.bcftools.view("-Oz", "-o", str(packed), str(text), catch_stdout=False)
        return packed

    return make


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def slice_file(files: Files, tmp_path: Path, notes: list[str]) -> Iterator[Slice]:
    """Slices a local file into a folder."""
    with ExitStack() as stack:

        def run(path: Path, *queries: str, index: Path | None = None, **request: object) -> list[Written]:
            item = stack.enter_context(local(path, index, notes.append))
            given = {"output_dir": tmp_path / "out", "reference": files.reference} | request
            return view(item, Request(queries=queries, **given))  # type: ignore[arg-type]

        yield run


def records(path: Path, *more: str) -> list[str]:
    """The records of a file, as text, by samtools or bcftools."""
    tool = "bcftools" if ".vcf" in path.name or ".bcf" in path.name else "samtools"
    header = ["-H"] if tool == "bcftools" else []
    done = subprocess.run([tool, "view", *header, *more, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
