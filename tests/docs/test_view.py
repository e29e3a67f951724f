"""The page on ``view``: its commands run, one after another."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pysam
import pysam.bcftools
import pytest

from score.testing.pages import follow
from score.testing.processes import clean_environment
from score.testing.site import local_site

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "view.md").read_text("utf-8")
COMMANDS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def make(folder: Path) -> None:
    """What the page calls sample.bam, sample.cram, calls.vcf.gz, another BAM, and reference.fa."""
    dice = random.Random(3)
    texts = {name: "".join(dice.choices("ACGT", k=30_000)) for name in ("chr1", "chr2")}
    (folder / "reference.fa").write_text("".join(f">{name}\n{text}\n" for name, text in texts.items()))
    lines = ["@HD\tVN:1.6\tSO:coordinate", *(f"@SQ\tSN:{name}\tLN:{len(text)}" for name, text in texts.items())]
    for name, text in texts.items():
        lines += [
            f"r{at}\t0\t{name}\t{at}\t60\t100M\t*\t0\t0\t{text[at - 1 : at + 99]}\t{'F' * 100}"
            for at in range(1, 29_000, 40)
        ]
    (folder / "sam").write_text("\n".join(lines) + "\n")
    for name in ("sample.bam", "other.bam"):
        pysam.view("-b", "-o", str(folder / name), str(folder / "sam"), catch_stdout=False)
    options = f"cram,reference={folder / 'reference.fa'}"
    pysam.view("-O", options, "-o", str(folder / "sample.cram"), str(folder / "sam"), catch_stdout=False)
    for name in ("sample.bam", "other.bam", "sample.cram"):
        pysam.index(str(folder / name))
    rows = [f"chr1\t{at}\t.\tA\tC\t50\tPASS\t." for at in range(10, 29_000, 100)]
    head = ["##fileformat=VCFv4.2", "##contig=<ID=chr1,length=30000>"]
    head += ["\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"])]
    (folder / "vcf").write_text("\n".join([*head, *rows]) + "\n")
    pysam.bcftools.view("-Oz", "-o", str(folder / "calls.vcf.gz"), str(folder / "vcf"), catch_stdout=False)
    pysam.bcftools.index("-t", str(folder / "calls.vcf.gz"))


@pytest.mark.needs("samtools", "bcftools")
def test_the_commands_run(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    make(here)
    names = ("sample.bam", "sample.cram", "calls.vcf.gz", "other.bam")
    indexes = ("sample.bam.bai", "sample.cram.crai", "calls.vcf.gz.tbi", "other.bam.bai")
    with local_site(tmp_path / "site") as site:
        files = site.register([here / name for name in (*names, *indexes)])
        site.run("upload", "--manifest", files.manifest)
        site.publish(files)
        environment = clean_environment(tmp_path, {"storage.url": site.url, "metadata.url": site.registry_url})
        environment |= dict(zip(("BAM", "CRAM", "VCF", "OTHER"), files.ids, strict=False))
        commands = [code for code in COMMANDS if "pip install" not in code]
        script = "\n".join(["exec 2>&1", *(f"{code}echo '--- {at}'" for at, code in enumerate(commands))])
        said = follow(script, here, environment, shell="bash")
    assert re.findall(r"--- (\d+)", said) == [str(at) for at in range(len(commands))]
    assert "has no contig chrEBV" in said
    assert {path.name for path in (here / "crossed").iterdir()} == {
        "sample.chr1_1-5000.sam",
        "sample.chr2_1-5000.sam",
    }
    assert int(pysam.view("-c", str(here / "both.bam"))) == 2 * 725
