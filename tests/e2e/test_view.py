"""``view`` on objects of a whole site: real server, real store, real client."""

from __future__ import annotations

import random
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pysam
import pysam.bcftools
import pytest

from score.testing.faults import Answer
from score.testing.processes import clean_environment, program
from score.testing.site import Registered, Site

CONTIGS = {"chr1": 1_000_000, "chr2": 50_000}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BAM, a CRAM, a VCF, their indexes, and an unaligned BAM without one."""
    folder = tmp_path_factory.mktemp("made")
    dice = random.Random(9)
    sequences = {name: "".join(dice.choices("ACGT", k=length)) for name, length in CONTIGS.items()}
    (folder / "reference.fa").write_text("".join(f">{name}\n{text}\n" for name, text in sequences.items()))
    lines = ["@HD\tVN:1.6\tSO:coordinate", *(f"@SQ\tSN:{name}\tLN:{length}" for name, length in CONTIGS.items())]
    for name, text in sequences.items():
        for number, at in enumerate(sorted(dice.sample(range(1, len(text) - 100), len(text) // 50))):
            quality = "".join(dice.choices("ABCDEFGHI", k=100))
            lines.append(f"r{number}\t0\t{name}\t{at}\t60\t100M\t*\t0\t0\t{text[at - 1 : at + 99]}\t{quality}")
    sam = folder / "made.sam"
    sam.write_text("\n".join(lines) + "\n")
    pysam.view("--no-PG", "-b", "-o", str(folder / "reads.bam"), str(sam), catch_stdout=False)
    options = f"cram,reference={folder / 'reference.fa'},seqs_per_slice=1000"
    pysam.view("-O", options, "-o", str(folder / "reads.cram"), str(sam), catch_stdout=False)
    (folder / "unaligned.sam").write_text("@RG\tID:x\tSM:y\nq1\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tFFFF\n")
    unaligned = folder / "unaligned.bam"
    pysam.view("--no-PG", "-b", "-o", str(unaligned), str(folder / "unaligned.sam"), catch_stdout=False)
    vcf = ["##fileformat=VCFv4.2", *(f"##contig=<ID={name},length={length}>" for name, length in CONTIGS.items())]
    vcf += ["\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"])]
    vcf += [f"chr1\t{at}\t.\tA\tC\t{dice.randrange(99)}\tPASS\t." for at in range(10, 900_000, 37)]
    (folder / "made.vcf").write_text("\n".join(vcf) + "\n")
    made = ("-Oz", "-o", str(folder / "calls.vcf.gz"), str(folder / "made.vcf"))
    pysam.bcftools.view(*made, catch_stdout=False)
    pysam.bcftools.index("-t", str(folder / "calls.vcf.gz"))
    pysam.index(str(folder / "reads.bam"))
    pysam.index(str(folder / "reads.cram"))
    for name in ("made.sam", "unaligned.sam", "made.vcf"):
        (folder / name).unlink()
    return folder


NAMES = (
    "reads.bam",
    "reads.bam.bai",
    "reads.cram",
    "reads.cram.crai",
    "calls.vcf.gz",
    "calls.vcf.gz.tbi",
    "unaligned.bam",
)


@pytest.fixture(scope="module")
def uploaded() -> dict[Site, Registered]:
    """The files on each of the sites."""
    return {}


@pytest.fixture
def stored(site: Site, made: Path, uploaded: dict[Site, Registered]) -> Callable[[str], str]:
    """The object id of each of the files, which are published."""
    if site not in uploaded:
        uploaded[site] = site.register([made / name for name in NAMES])
        site.run("upload", "--manifest", uploaded[site].manifest)
        site.publish(uploaded[site])
        site.store.forget()
    files = uploaded[site]
    return lambda name: files.ids[NAMES.index(name)]


def samtools(*words: str | Path) -> str:
    return subprocess.run(["samtools", *map(str, words)], check=True, capture_output=True, text=True).stdout


@pytest.mark.needs("samtools")
def test_a_region_by_few_requests_and_nothing_left_behind(
    site: Site, stored: Callable[[str], str], made: Path
) -> None:
    region = "chr1:500000-530000"
    done = site.run("view", "--object-id", stored("reads.bam"), "--query", region, "--output-original-header")
    assert done.stdout == samtools("view", "-h", "--no-PG", made / "reads.bam", region)
    reads = site.fetched(stored("reads.bam"))
    assert len(reads) == 2, "the head, and the region"
    assert sum(read.received for read in reads) < 500_000 < (made / "reads.bam").stat().st_size
    assert len(site.fetched(stored("reads.bam.bai"))) == 1
    left = {path.name for path in (site.folder / "clients").iterdir()}
    assert not [name for name in left if not name.endswith((".stdout", ".stderr"))]


@pytest.mark.needs("samtools")
def test_cram_needs_its_reference(site: Site, stored: Callable[[str], str], made: Path) -> None:
    words = ("view", "--object-id", stored("reads.cram"), "--query", "chr2:100-900", "--output-original-header")
    done = site.run(*words, "--reference-file", made / "reference.fa")
    expected = samtools("view", "-T", made / "reference.fa", made / "reads.cram", "chr2:100-900")
    assert [line for line in done.stdout.splitlines() if line[0] != "@"] == expected.splitlines()


@pytest.mark.needs("samtools", "bcftools")
@pytest.mark.parametrize(
    ("name", "format", "reader"),
    [
        ("reads.bam", "bam", "samtools view -c"),
        ("reads.bam", "sam", "samtools view -c"),
        ("reads.bam", "cram", "samtools view -c"),
        ("calls.vcf.gz", "vcf", "bcftools view -H"),
        ("calls.vcf.gz", "bcf", "bcftools view -H"),
    ],
)
def test_it_pipes_into_other_programs(
    name: str, format: str, reader: str, site: Site, stored: Callable[[str], str], made: Path
) -> None:
    region = "chr1:500000-520000"
    expected = subprocess.run(
        [*shlex.split(reader), str(made / name), region], check=True, capture_output=True, text=True
    ).stdout
    client = f"{program('score-client')} view --object-id {stored(name)} --query {region} --output-format {format}"
    settings = {"storage.url": site.url, "metadata.url": site.registry_url}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{client} --stdout | {reader}"],
        env=clean_environment(site.folder, settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


@pytest.mark.parametrize(("name", "format"), [("reads.bam", "sam"), ("reads.bam", "bam"), ("calls.vcf.gz", "vcf")])
def test_a_reader_that_leaves_ends_it_without_a_word(
    name: str, format: str, site: Site, stored: Callable[[str], str]
) -> None:
    client = f"{program('score-client')} view --object-id {stored(name)} --output-format {format}"
    settings = {"storage.url": site.url, "metadata.url": site.registry_url}
    done = subprocess.run(
        ["bash", "-c", f"{client} | head -c 100 > /dev/null; echo ${{PIPESTATUS[0]}}"],
        env=clean_environment(site.folder, settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_a_header_needs_no_index(site: Site, stored: Callable[[str], str]) -> None:
    done = site.run("view", "--object-id", stored("unaligned.bam"), "--header-only", "--output-original-header")
    assert done.stdout == "@RG\tID:x\tSM:y\n"
    done = site.run("view", "--object-id", stored("unaligned.bam"), "--output-original-header")
    assert done.stdout.splitlines()[1:] == ["q1\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tFFFF"]


def test_regions_need_one(site: Site, stored: Callable[[str], str]) -> None:
    done = site.run("view", "--object-id", stored("unaligned.bam"), "--query", "chr1:1-2", status=4)
    assert "unaligned.bam has no index" in done.stderr
    assert "unaligned.bam.bai" in done.stderr


def test_the_wrong_contig(site: Site, stored: Callable[[str], str]) -> None:
    done = site.run("view", "--object-id", stored("reads.bam"), "--query", "1:1-2", status=2)
    assert "reads.bam has no contig 1 (did you mean chr1" in done.stderr
    assert done.stdout == ""
    words = ("view", "--object-id", stored("reads.bam"), "--query", "1:1-2", "chr2:1-200", "--allow-missing-contig")
    done = site.run(*words)
    assert "no contig 1" in done.stderr
    assert [line for line in done.stdout.splitlines() if line[0] != "@"]


def test_a_manifest(site: Site, stored: Callable[[str], str], tmp_path: Path) -> None:
    """All that holds reads or variants, one file each."""
    manifest = tmp_path / "manifest.txt"
    ids = [stored(name) for name in ("reads.bam", "reads.bam.bai", "calls.vcf.gz")]
    manifest.write_text("object_id\n" + "\n".join(ids) + "\n")
    words = ("--query", "chr1:1-3000", "--output-dir", tmp_path / "out")
    done = site.run("view", "--manifest", manifest, *words)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"reads.chr1_1-3000.sam", "calls.chr1_1-3000.vcf.gz"}
    assert "left out, 'reads.bam.bai' is no file of reads" in done.stderr


def test_faults_of_the_store_are_waited_for(site: Site, stored: Callable[[str], str]) -> None:
    words = ("view", "--object-id", stored("reads.bam"), "--query", "chr2", "--output-original-header")
    expected = site.run(*words).stdout
    site.store.inject(Answer.unavailable(), method="GET", path=site.path_of(stored("reads.bam")), times=2)
    site.store.inject(Answer.expired(), method="GET", path=site.path_of(stored("reads.bam")))
    assert site.run(*words).stdout == expected


def test_a_store_that_stays_away(site: Site, stored: Callable[[str], str], tmp_path: Path) -> None:
    site.store.inject(Answer.unavailable(), method="GET", path=site.path_of(stored("reads.bam")), skip=1, times=None)
    words = ("--query", "chr1", "--output-dir", tmp_path / "out", "--output-format", "bam")
    done = site.run("view", "--object-id", stored("reads.bam"), *words, status=5)
    assert "gave up after 5 tries" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("skip", [0, 1])
def test_ctrl_c_while_the_store_is_silent(
    skip: int, site: Site, stored: Callable[[str], str], tmp_path: Path
) -> None:
    """Also where htslib waits for bytes, which no interrupt reaches."""
    gate = site.store.hold(method="GET", path=site.path_of(stored("reads.bam")), skip=skip, times=None)
    words = ("view", "--object-id", stored("reads.bam"), "--output-format", "bam", "--output-dir", tmp_path / "out")
    with site.start(*words) as client:
        gate.wait_for_arrival()
        client.interrupt()
        done = client.conclude(130)
    assert "Interrupted" in done.stderr
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_what_is_not_published(site: Site, made: Path) -> None:
    files: Registered = site.register([made / "reads.bam"])
    site.run("upload", "--manifest", files.manifest)
    done = site.run("view", "--object-id", files.id, "--header-only", status=3)
    assert "UNPUBLISHED" in done.stderr.upper()
